"""`fake_quantize` and its gradient."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from dqrun.kernels.cpu.bits import WORD, pack, where_set
from dqrun.kernels.cpu.grids import INFINITY, SMALLEST, GridValues, grid_values, passes, round_to_grid, width_of
from dqrun.kernels.cpu.launch import NO_FLAGS, Array, array, empty_like, inner, kernel, optional, parts, share
from dqrun.kernels.cpu.noise import NoiseValues, chosen, noise_values
from dqrun.kernels.cpu.pointers import hold, pointers

NO_WORDS = np.empty(0, np.uint32)
BLOCK = 64 * WORD  # elements whose gradient bits are packed together


@inner
def _round(x: Any, y: Any, first: int, last: int, grid: GridValues, floor: Any) -> None:
    for i in range(first, last):
        rounded = round_to_grid(x[i], grid)
        if rounded < floor:
            rounded = floor
        y[i] = rounded


@inner
def _round_flagged(
    x: Any, y: Any, flags: Any, block: int, first: int, last: int, grid: GridValues, floor: Any, least: Any
) -> None:
    """As `_round`; flags[i - block]: whether the gradient of element i passes."""
    for i in range(first, last):
        rounded = round_to_grid(x[i], grid)
        flags[i - block] = passes(x[i], grid) & (not rounded < least)
        if rounded < floor:
            rounded = floor
        y[i] = rounded


@inner
def copy_flagged(x: Any, y: Any, flags: Any, block: int, first: int, last: int, floor: Any, least: Any) -> None:
    """As `_round_flagged` for elements that stay exact."""
    for i in range(first, last):
        value = x[i]
        flags[i - block] = not value < least
        if value < floor:
            value = floor
        y[i] = value


@inner
def _round_chosen(
    x: Any,
    y: Any,
    flags: Any,
    block: int,
    first: int,
    last: int,
    grid: GridValues,
    floor: Any,
    least: Any,
    noise: NoiseValues,
) -> None:
    """As `_round_flagged` for the elements that noise chooses, as `copy_flagged` for the others."""
    low, high, threshold = noise
    start = np.uint32(low + np.uint32(first))
    for i in range(last - first):
        value = x[first + i]
        rounded, exact = round_to_grid(value, grid), not chosen(np.uint32(np.uint32(i) + start), high, threshold)
        result = value if exact else rounded
        flags[first - block + i] = (passes(value, grid) | exact) & (not result < least)
        y[first + i] = floor if result < floor else result


@kernel
def _forward(
    part: int,
    num_parts: int,
    x: Array,
    y: Array,
    bits: Array,
    protected: Array,
    width: int,
    grid: GridValues,
    noise: NoiseValues,
    floor: Any,
    least: Any,
) -> None:
    """y = x rounded, at least `floor`; bits (empty: none wanted): where the gradient passes, one bit per element."""
    size, kept, wanted, noisy = x.size, protected.size > 0, bits.size > 0, noise[2] > 0
    start, stop = share(part, num_parts, (size + BLOCK - 1) // BLOCK)
    flags = np.empty(BLOCK, np.uint8)
    x_at, y_at, flags_at = pointers((x, y, flags))
    for block in range(start * BLOCK, min(stop * BLOCK, size), BLOCK):
        first, last = block, min(block + BLOCK, size)
        while first < last:  # a row, or its part in this block; the whole block if no row is protected
            row = first // width
            end = min(last, (row + 1) * width) if kept else last
            if kept and protected[row]:
                copy_flagged(x_at, y_at, flags_at, block, first, end, floor, least)
            elif noisy:
                _round_chosen(x_at, y_at, flags_at, block, first, end, grid, floor, least, noise)
            elif wanted:
                _round_flagged(x_at, y_at, flags_at, block, first, end, grid, floor, least)
            else:
                _round(x_at, y_at, first, end, grid, floor)
            first = end
        if wanted:
            for i in range(last - block, (last - block + WORD - 1) // WORD * WORD):
                flags[i] = 0  # unused bits of the last word
            for word in range(block // WORD, (last + WORD - 1) // WORD):
                bits[word] = pack(flags, word * WORD - block)
    hold((flags,))


@kernel
def _backward(part: int, num_parts: int, grad: Array, bits: Array, y: Array) -> None:
    """y = grad where its bit is set, else 0."""
    first, last = share(part, num_parts, bits.size)
    for word in range(first, last):
        start = word * WORD
        if start + WORD <= grad.size:
            where_set(grad, y, start, bits[word])
        else:
            for i in range(start, grad.size):
                y[i] = grad[i] if (bits[word] >> np.uint32(i - start)) & np.uint32(1) else np.float32(0)


def _rounded(
    x: Tensor,
    grid: GridValues,
    protected: Tensor | None,
    relu: bool,
    noise: NoiseValues,
    mask: Array = NO_WORDS,
) -> Tensor:
    """x rounded; mask (empty: none wanted): to be filled with where the gradient passes."""
    y = empty_like(x)
    if x.numel():
        floor, least = (np.float32(0), SMALLEST) if relu else (-INFINITY, -INFINITY)
        flags, size = optional(protected, NO_FLAGS), x.numel()
        _forward(parts(size), array(x), array(y), mask, flags, width_of(x), grid, noise, floor, least)
    return y


def fake_quantize(
    x: Tensor,
    scale: Tensor,
    zero_point: Tensor,
    qmin: int,
    qmax: int,
    protected: Tensor | None,
    estimator: str,
    relu: bool,
    rate: float,
    low: int,
    high: int,
) -> Tensor:
    grid = grid_values(scale, zero_point, qmin, qmax, estimator)
    return _rounded(x, grid, protected, relu, noise_values(rate, low, high))


def fake_quantize_cachemask(
    x: Tensor,
    scale: Tensor,
    zero_point: Tensor,
    qmin: int,
    qmax: int,
    protected: Tensor | None,
    estimator: str,
    relu: bool,
    rate: float,
    low: int,
    high: int,
) -> tuple[Tensor, Tensor]:
    grid = grid_values(scale, zero_point, qmin, qmax, estimator)
    if estimator == "ste":
        grid = (*grid[:5], -INFINITY, INFINITY)  # all codes pass
    mask = torch.empty(-(-x.numel() // WORD), dtype=torch.int32)
    return _rounded(x, grid, protected, relu, noise_values(rate, low, high), array(mask).view(np.uint32)), mask


def fake_quantize_cachemask_backward(grad: Tensor, mask: Tensor) -> Tensor:
    y = empty_like(grad)
    if grad.numel():
        _backward(parts(grad.numel()), array(grad), array(mask).view(np.uint32), array(y))
    return y
