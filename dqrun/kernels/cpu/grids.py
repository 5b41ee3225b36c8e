"""A grid as kernels take it, and rounding one value to it: inner functions that kernels share.

A grid enters a kernel as seven float32: 1 / scale, scale, zero point, lowest and highest code, and the lowest and
highest unclamped code at which the gradient passes.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from torch import Tensor

from dqrun.kernels.cpu.launch import inner
from dqrun.kernels.reference import gradient_codes

GridValues = tuple[Any, ...]  # seven float32
INFINITY, SMALLEST = np.float32(np.inf), np.float32(2.0**-149)  # SMALLEST: what is above zero


def grid_values(scale: Tensor, zero_point: Tensor, qmin: int, qmax: int, estimator: str) -> GridValues:
    """The grid as kernels take it; float32 arithmetic, so that 1 / scale is the reference's."""
    return _grid_values(scale.item(), zero_point.item(), qmin, qmax, estimator)


@lru_cache(maxsize=4096)  # most steps change few grids
def _grid_values(scale: float, zero_point: float, qmin: int, qmax: int, estimator: str) -> GridValues:
    step = np.float32(scale)
    codes = map(np.float32, (zero_point, qmin, qmax, *gradient_codes(qmin, qmax, estimator)))
    return (np.float32(1) / step, step, *codes)


@inner
def round_to_grid(x: Any, grid: GridValues) -> Any:
    """(q - zero_point) * scale of one value; comparisons leave NaN as it is."""
    inverse, scale, zero_point, qmin, qmax, _, _ = grid
    code = np.rint(x * inverse) + zero_point
    if code < qmin:
        code = qmin
    if code > qmax:
        code = qmax
    return (code - zero_point) * scale


@inner
def passes(x: Any, grid: GridValues) -> Any:
    """Whether the gradient of one value passes; that of NaN does."""
    inverse, _, zero_point, _, _, low, high = grid
    code = np.rint(x * inverse) + zero_point
    return not ((code < low) | (code > high))


def width_of(x: Tensor) -> int:
    """Elements of a row."""
    return x.numel() // x.size(0) if x.dim() else 1
