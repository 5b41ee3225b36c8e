"""Shapes of tensors with scales that broadcast, in the form [outer, channels, inner] of compiled kernels."""

from __future__ import annotations

import math
from collections.abc import Sequence


def in_one_block(scale_shape: Sequence[int]) -> bool:
    """Whether the dimensions in which scales differ are adjacent, so that the tensor is [outer, channels, inner]."""
    own = [dim for dim, size in enumerate(scale_shape) if size > 1]
    return not own or own[-1] - own[0] == len(own) - 1


def as_block(shape: Sequence[int], scale_shape: Sequence[int]) -> tuple[int, int, int]:
    """The sizes (outer, channels, inner) of a contiguous tensor of `shape`, `channels` the number of scales.

    scale_shape: of the scales, as many dimensions, `in_one_block`.
    """
    channels = math.prod(scale_shape)
    last = max((dim for dim, size in enumerate(scale_shape) if size > 1), default=-1)
    inner = math.prod(shape[last + 1 :])
    return math.prod(shape) // max(1, channels * inner), channels, inner
