"""Sums of tensors, or of sparse rows with values at the same positions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar, cast

import torch
from torch import Tensor

from dqrun.graphs import Rows, SparseRows

R = TypeVar("R", bound=Rows)


def values_of(x: Rows) -> Tensor:
    """The numbers of x as one tensor: x itself, or the values of sparse rows, [K]."""
    return x.values if isinstance(x, SparseRows) else x


def with_values(x: R, values: Tensor) -> R:
    """x with other values, of the shape of `values_of(x)`."""
    return cast(R, x.with_values(values) if isinstance(x, SparseRows) else values)


def weighted_sum(parts: Sequence[R], weights: Tensor) -> R:
    """sum_k weights[k] parts[k]; weights: [K]. Gradients to both."""
    total = values_of(parts[0]) * weights[0]
    for k in range(1, len(parts)):
        total = torch.addcmul(total, values_of(parts[k]), weights[k])
    return with_values(parts[0], total)
