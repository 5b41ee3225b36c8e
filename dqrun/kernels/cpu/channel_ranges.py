"""`channel_range`: the exact range of each channel of a weight."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from dqrun.kernels import reference
from dqrun.kernels.blocks import as_block
from dqrun.kernels.cpu.launch import NO_FLOATS, Array, array, inner, kernel, optional, parts, share
from dqrun.kernels.cpu.selection import HISTOGRAM, select
from dqrun.kernels.reference import Range, left_out


@inner
def _low_end(values: Array, copy: Array, below: int, seen: Any, sign: Any) -> Any:
    """The element of `sign * values` with rank `below` (from 0), or `seen` if at most `below` elements are less.

    `copy`: memory of the size of values.
    """
    less = 0
    for i in range(values.size):
        less += sign * values[i] < seen
    if less <= below:
        return seen
    for i in range(values.size):
        copy[i] = sign * values[i]
    histogram = np.empty(HISTOGRAM, np.int64)
    return select(copy, copy.size, histogram, False, histogram, below)


@kernel
def _ranges(
    part: int, num_parts: int, x: Array, block: Any, ranks: Any, seen_low: Array, seen_high: Array, ends: Array
) -> None:
    """ends [channels, 2]: low and high of each channel; seen_low, seen_high: [channels], or empty."""
    (outer, channels, width), (below, above) = block, ranks
    first, last = share(part, num_parts, channels)
    values, copy = np.empty(outer * width, np.float32), np.empty(outer * width, np.float32)
    for channel in range(first, last):
        for row in range(outer):
            start = (row * channels + channel) * width
            for i in range(width):
                values[row * width + i] = x[start + i]
        low = seen_low[channel] if seen_low.size else np.float32(np.inf)
        high = seen_high[channel] if seen_high.size else np.float32(-np.inf)
        ends[channel, 0] = _low_end(values, copy, below, low, np.float32(1))
        ends[channel, 1] = -_low_end(values, copy, above, -high, np.float32(-1))


def channel_range(
    x: Tensor, shape: list[int], tail: float, seen_low: Tensor | None, seen_high: Tensor | None, percentile: str
) -> Range:
    if tail == 0:  # torch's own minimum and maximum are faster
        before = None if seen_low is None or seen_high is None else (seen_low, seen_high)
        return reference.channel_range(x, tuple(shape), tail, before, percentile)
    block = as_block(x.shape, shape)
    ends = np.empty((block[1], 2), np.float32)
    seen = optional(seen_low, NO_FLOATS), optional(seen_high, NO_FLOATS)
    ranks = left_out(tail, block[0] * block[2], percentile)
    _ranges(parts(x.numel()), array(x), block, ranks, *seen, ends)
    low, high = torch.from_numpy(ends).unbind(1)
    return low.clone().view(shape), high.clone().view(shape)
