"""Rounding to a grid, as inner loops that other kernels share, and `fake_quantize`.

A grid enters a kernel as seven float32: 1 / scale, scale, zero point, lowest and highest code, and the lowest and
highest unclamped code at which the gradient passes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numba import prange
from torch import Tensor
from torch.autograd.function import once_differentiable

from dqrun.kernels.cpu.launch import NO_FLAGS, Array, array, inner, kernel, optional, parts, share
from dqrun.kernels.reference import gradient_codes

GridValues = tuple[Any, ...]  # seven float32


def grid_values(scale: Tensor, zero_point: Tensor, qmin: int, qmax: int, estimator: str) -> GridValues:
    """The grid as kernels take it; float32 arithmetic, so that 1 / scale is the reference's."""
    step = np.float32(scale.item())
    low, high = gradient_codes(qmin, qmax, estimator)
    codes = (np.float32(code) for code in (zero_point.item(), qmin, qmax, low, high))
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
    """Whether the gradient of one value passes."""
    inverse, _, zero_point, _, _, low, high = grid
    code = np.rint(x * inverse) + zero_point
    return (code >= low) & (code <= high)


@inner
def _round_slice(x: Array, y: Array, grid: GridValues) -> None:
    for i in range(x.size):
        y[i] = round_to_grid(x[i], grid)


@inner
def _mask_slice(x: Array, grad: Array, y: Array, grid: GridValues) -> None:
    for i in range(x.size):
        passing = grad[i]  # loaded whether it passes or not, so that the loop has no branch
        y[i] = passing if passes(x[i], grid) else np.float32(0)


@inner
def _copy_slice(x: Array, y: Array) -> None:
    for i in range(x.size):
        y[i] = x[i]


@kernel
def _forward(x: Array, y: Array, keep: Array, width: int, grid: GridValues, num_parts: int) -> None:
    for part in prange(num_parts):
        start, stop = share(part, num_parts, x.size)
        while start < stop:  # a row, or what of it lies in this part; all at once when no row is kept
            end = min(stop, (start // width + 1) * width) if keep.size else stop
            if keep.size and keep[start // width]:
                _copy_slice(x[start:end], y[start:end])
            else:
                _round_slice(x[start:end], y[start:end], grid)
            start = end


@kernel
def _backward(x: Array, grad: Array, y: Array, keep: Array, width: int, grid: GridValues, num_parts: int) -> None:
    for part in prange(num_parts):
        start, stop = share(part, num_parts, x.size)
        while start < stop:
            end = min(stop, (start // width + 1) * width) if keep.size else stop
            if keep.size and keep[start // width]:
                _copy_slice(grad[start:end], y[start:end])
            else:
                _mask_slice(x[start:end], grad[start:end], y[start:end], grid)
            start = end


class _FakeQuantize(torch.autograd.Function):
    """One pass forward, one backward; keeps x (which the graph mostly holds anyway) rather than a mask."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, keep: Tensor | None, grid: GridValues, estimator: str) -> Tensor:
        y = torch.empty(x.shape)
        ctx.keep, ctx.grid, ctx.estimator = keep, grid, estimator
        if estimator != "ste":
            ctx.save_for_backward(x)
        if x.numel():
            _forward(array(x), array(y), optional(keep, NO_FLAGS), _width(x), grid, parts(x.numel()))
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.estimator == "ste" or not grad.numel():
            return grad, None, None, None
        (x,) = ctx.saved_tensors
        y = torch.empty(x.shape)
        keep = optional(ctx.keep, NO_FLAGS)
        _backward(array(x), array(grad), array(y), keep, _width(x), ctx.grid, parts(x.numel()))
        return y, None, None, None


def _width(x: Tensor) -> int:
    return x.numel() // x.size(0) if x.dim() else 1


def fake_quantize(
    x: Tensor,
    scale: Tensor,
    zero_point: Tensor,
    qmin: int,
    qmax: int,
    keep: Tensor | None = None,
    estimator: str = "ste",
) -> Tensor:
    grid = grid_values(scale, zero_point, qmin, qmax, estimator)
    y: Tensor = _FakeQuantize.apply(x, keep, grid, estimator)  # type: ignore[no-untyped-call]
    return y
