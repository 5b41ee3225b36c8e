"""The gradient of a learned step (Esser et al. 2020, eq. 3) in one pass over values, or over messages of edges.

Only the input of the forward pass is kept; slopes are computed again. Sums are float32 within a block or a row and
float64 over blocks and rows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from dqrun.kernels.cpu.grids import INFINITY, SMALLEST, GridValues, grid_values, width_of
from dqrun.kernels.cpu.lanes import sum_of
from dqrun.kernels.cpu.launch import NO_FLAGS, NO_FLOATS, Array, array, inner, kernel, optional, parts, share
from dqrun.kernels.cpu.noise import NoiseValues, chosen, noise_values, only_chosen
from dqrun.kernels.cpu.pointers import pointers

BLOCK = 2048  # elements whose float32 sum is exact enough


@inner
def slope_of(x: Any, grid: GridValues, least: Any) -> Any:
    """The derivative of a rounded value by the step; 0 for a value below `least` steps, which a ReLU made zero.

    It does not call `round_to_grid`, which adds and subtracts the zero point: with it protected rows took 1.3 to 2
    times as long.
    """
    inverse, _, zero_point, qmin, qmax, _, _ = grid
    place, low, high = x * inverse, qmin - zero_point, qmax - zero_point
    steps = np.rint(place)
    if steps < low:
        steps = low
    if steps > high:
        steps = high
    slope = steps - (place if (place > low) & (place < high) else np.float32(0))
    return np.float32(0) if steps < least else slope


@inner
def _value_term(f: int, arguments: Any) -> Any:
    """Selects the slope, not the product: the compiler turns a select of products into a masked load of `grad`, which
    the prefetcher of some processors ignores (Zen 5: three times the time).
    """
    grad, x, first, grid, least = arguments
    return grad[first + f] * slope_of(x[first + f], grid, least)


@inner
def _message_term(f: int, arguments: Any) -> Any:
    grad, i, x, j, weight, grid = arguments
    return grad[i + f] * slope_of(weight * x[j + f], grid, -INFINITY)


@inner
def _message_term_chosen(f: int, arguments: Any) -> Any:
    """As `_message_term`, of what noise chooses; first: the message's first element among those of all messages."""
    grad, i, x, j, weight, grid, first, high, threshold = arguments
    slope = slope_of(weight * x[j + f], grid, -INFINITY)
    return grad[i + f] * (slope if chosen(np.uint32(first + np.uint32(f)), high, threshold) else np.float32(0))


sum_slopes, _sum_message = sum_of(_value_term), sum_of(_message_term)
_sum_message_chosen = sum_of(_message_term_chosen)


@kernel
def _over_values(
    part: int,
    num_parts: int,
    grad: Array,
    x: Array,
    protected: Array,
    width: int,
    grid: GridValues,
    least: Any,
    sums: Array,
) -> None:
    """sums [parts], float64: each part's share of the gradient."""
    size, kept = x.size, protected.size > 0
    start, stop = share(part, num_parts, (size + BLOCK - 1) // BLOCK)
    grad_at, x_at = pointers((grad, x))
    total = np.float64(0)
    for block in range(start * BLOCK, min(stop * BLOCK, size), BLOCK):
        first, last = block, min(block + BLOCK, size)
        while first < last:  # a row, or its part in this block; the whole block if no row is protected
            row = first // width
            end = min(last, (row + 1) * width) if kept else last
            if not (kept and protected[row]):
                total += np.float64(sum_slopes(end - first, (grad_at, x_at, first, grid, least)))
            first = end
    sums[part] = total


@kernel
def _over_messages(
    part: int,
    num_parts: int,
    row: Array,
    col: Array,
    grad: Array,
    x: Array,
    weight: Array,
    protected: Array,
    shape: Any,
    grid: GridValues,
    noise: NoiseValues,
    sums: Array,
) -> None:
    """As `_over_values`; shape: heads and channels of a message, weight [E * heads] (empty: ones)."""
    num_edges, (heads, channels) = col.size, shape
    has_weight, has_protected, (low, high, threshold) = weight.size > 0, protected.size > 0, noise
    noisy = threshold > 0
    first, last = share(part, num_parts, num_edges)
    row_at, col_at, grad_at, x_at, weight_at = pointers((row, col, grad, x, weight))
    total = np.float64(0)
    for e in range(first, last):
        target, source = row_at[e], col_at[e]
        if not (has_protected and protected[source]):
            for head in range(heads):
                i, j = (target * heads + head) * channels, (source * heads + head) * channels
                w = weight_at[e * heads + head] if has_weight else np.float32(1)
                if noisy:
                    start = np.uint32(low + np.uint32((e * heads + head) * channels))
                    row_sum = _sum_message_chosen(channels, (grad_at, i, x_at, j, w, grid, start, high, threshold))
                else:
                    row_sum = _sum_message(channels, (grad_at, i, x_at, j, w, grid))
                total += np.float64(row_sum)
    sums[part] = total


def fake_quantize_scale_backward(
    grad: Tensor,
    x: Tensor,
    scale: Tensor,
    zero_point: Tensor,
    qmin: int,
    qmax: int,
    protected: Tensor | None,
    relu: bool,
    rate: float,
    low: int,
    high: int,
) -> Tensor:
    sums = np.zeros(parts(x.numel()))
    if x.numel():
        least, grid = SMALLEST if relu else -INFINITY, grid_values(scale, zero_point, qmin, qmax, "clipped")
        chosen_grad, flags = only_chosen(grad, noise_values(rate, low, high)), optional(protected, NO_FLAGS)
        _over_values(sums.size, array(chosen_grad), array(x), flags, width_of(x), grid, least, sums)
    return torch.tensor(sums.sum(), dtype=x.dtype)


def spmm_quantized_scale_backward(
    grad: Tensor,
    x: Tensor,
    weight: Tensor | None,
    scale: Tensor,
    zero_point: Tensor,
    qmin: int,
    qmax: int,
    protected: Tensor | None,
    rate: float,
    low: int,
    high: int,
    _rowptr: Tensor,
    col: Tensor,
    row: Tensor,
    *_transposed: Tensor,
) -> Tensor:
    shape = (x.size(1) if x.dim() == 3 else 1), x.size(-1)
    sums = np.zeros(parts(col.numel() * shape[0] * shape[1]))
    if col.numel():
        grid, noise = grid_values(scale, zero_point, qmin, qmax, "clipped"), noise_values(rate, low, high)
        tensors, options = (array(grad), array(x)), (optional(weight, NO_FLOATS), optional(protected, NO_FLAGS))
        _over_messages(sums.size, array(row), array(col), *tensors, *options, shape, grid, noise, sums)
    return torch.tensor(sums.sum(), dtype=x.dtype)
