"""`fake_quantize_rows`: each row, or part of one, is rounded to the grid of its own extremes while it is in the cache.

A row needs two loops, one for its extremes and one for rounding, with a few scalar operations between them. `Rule` is
`Grid` in the form that kernels take.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dqrun.kernels.cpu.bits import WORD, pack
from dqrun.kernels.cpu.grids import INFINITY, SMALLEST, width_of
from dqrun.kernels.cpu.launch import NO_FLAGS, Array, array, empty_like, inner, kernel, optional, parts, share
from dqrun.kernels.cpu.noise import NoiseValues, chosen, noise_values
from dqrun.kernels.cpu.pointers import hold, pointers
from dqrun.kernels.cpu.rounding import NO_WORDS, copy_flagged
from dqrun.kernels.cpu.selection import from_ordered, to_ordered
from dqrun.kernels.grid_of_range import MOST_RANGES_AWAY, SMALLEST_SCALE, SMALLEST_UNIT_SCALE, Grid

SYMMETRIC, INSIDE, INTEGER, REAL = range(4)
KINDS = {"inside": INSIDE, "integer": INTEGER, "real": REAL}
Rule = tuple[Any, ...]
RowGrid = tuple[Any, ...]  # 1 / scale, scale, zero point, offset, qmin and qmax, float32

_AWAY, _LEAST, _UNIT = map(np.float32, (MOST_RANGES_AWAY, SMALLEST_SCALE, SMALLEST_UNIT_SCALE))
_MANTISSA = np.int32(0x7FFFFF)


def rule_values(grid: Grid) -> Rule:
    """`Grid` as numbers: kind, qmin, qmax, steps of a range, 1 + headroom, `power_of_two`, `collapsed` "unit"."""
    kind = SYMMETRIC if grid.symmetric else KINDS[grid.offset]
    steps = grid.qmax if grid.symmetric else grid.qmax - grid.qmin
    numbers = map(np.float32, (grid.qmin, grid.qmax, steps, 1.0 + grid.headroom))
    return kind, *numbers, grid.power_of_two, grid.collapsed == "unit"


@inner
def _next_power_of_two(x: Any) -> Any:
    """The least power of two >= x, by the bits of a float32: a nonzero mantissa increments the exponent."""
    bits = np.float32(x).view(np.int32)
    return np.int32((bits + _MANTISSA) & ~_MANTISSA).view(np.float32)


@inner
def _scale(step: Any, power_of_two: Any, unit: Any) -> Any:
    """See `Grid`."""
    least = max(step, _UNIT if unit else _LEAST)
    if unit and not step > 0:
        least = np.float32(1)
    return _next_power_of_two(least) if power_of_two else least


@inner
def row_grid(low: Any, high: Any, rule: Rule) -> RowGrid:
    """The grid that covers [low, high]: `Grid.scales`."""
    kind, qmin, qmax, steps, room, power_of_two, unit = rule
    zero, offset, zero_point = np.float32(0), np.float32(0), np.float32(0)
    if kind <= INSIDE:
        low, high = min(low, zero), max(high, zero)
    low, high = low * room, high * room
    size = max(-low, high)
    width = high - low
    if kind == SYMMETRIC:
        width = size if qmin < 0 else high
    elif kind == INTEGER:
        width = max(width, size / _AWAY)
    scale = _scale(width / steps, power_of_two, unit)
    inverse = np.float32(1) / scale
    if kind == INSIDE:
        zero_point = min(max(qmin - np.rint(low / scale), qmin), qmax)
        if unit and not high > low:
            zero_point = zero
    elif kind == INTEGER:
        zero_point = qmin - np.rint(low * inverse)
    elif kind == REAL:
        zero_point, offset = qmin, low
    return inverse, scale, zero_point, offset, qmin, qmax


@inner
def extremes(x: Any, first: int, last: int, low: Any, high: Any) -> tuple[Any, Any]:
    """Minimum and maximum of these elements, `low` and `high`; compared as integers, which vectorises."""
    least, most = to_ordered(low), to_ordered(high)
    for i in range(first, last):
        ordered = to_ordered(x[i])
        least = min(least, ordered)
        most = max(most, ordered)
    return from_ordered(least), from_ordered(most)


@inner
def _code(x: Any, grid: RowGrid) -> Any:
    inverse, _, zero_point, offset, qmin, qmax = grid
    code = np.rint((x - offset) * inverse) + zero_point
    if code < qmin:
        code = qmin
    if code > qmax:
        code = qmax
    return code


@inner
def round_row(x: Any, y: Any, first: int, last: int, grid: RowGrid, floor: Any) -> None:
    """y = x rounded, at least `floor`."""
    _, scale, zero_point, offset, _, _ = grid
    for i in range(first, last):
        rounded = (_code(x[i], grid) - zero_point) * scale + offset
        if rounded < floor:
            rounded = floor
        y[i] = rounded


@inner
def _round_flagged(
    x: Any, y: Any, flags: Any, block: int, first: int, last: int, grid: RowGrid, ends: Any, relu: Any
) -> None:
    """As `round_row`; flags[i - block]: whether the gradient passes: of codes from ends[0] to ends[1]."""
    _, scale, zero_point, offset, _, _ = grid
    floor, least = relu
    low, high = ends
    for i in range(first, last):
        code = _code(x[i], grid)
        rounded = (code - zero_point) * scale + offset
        flags[i - block] = (not rounded < least) & (not ((code < low) | (code > high)))
        if rounded < floor:
            rounded = floor
        y[i] = rounded


@inner
def _round_chosen(
    x: Any, y: Any, flags: Any, block: int, first: int, last: int, grid: RowGrid, ends: Any, relu: Any, noise: Any
) -> None:
    """As `_round_flagged` for the elements that noise chooses; others stay exact."""
    _, scale, zero_point, offset, _, _ = grid
    floor, least = relu
    low, high = ends
    seed, second, threshold = noise
    start = np.uint32(seed + np.uint32(first))
    for i in range(last - first):
        value = x[first + i]
        code = _code(value, grid)
        exact = not chosen(np.uint32(np.uint32(i) + start), second, threshold)
        result = value if exact else (code - zero_point) * scale + offset
        passes = exact | (not ((code < low) | (code > high)))
        flags[first - block + i] = passes & (not result < least)
        y[first + i] = floor if result < floor else result


@kernel
def _forward(
    part: int,
    num_parts: int,
    x: Array,
    y: Array,
    bits: Array,
    protected: Array,
    shape: Any,
    rule: Rule,
    noise: NoiseValues,
    ends: Any,
    relu: Any,
) -> None:
    """y = x rounded, each part of a row to its own grid; bits (empty: none wanted): where the gradient passes.

    shape: rows, their width, size of the parts, and rows in a block, whose elements fill whole words of bits.
    """
    num_rows, width, size, together = shape
    kept, wanted, noisy = protected.size > 0, bits.size > 0, noise[2] > 0
    start, stop = share(part, num_parts, (num_rows + together - 1) // together)
    flags = np.empty(together * width + WORD if wanted or noisy or kept else 0, np.uint8)
    x_at, y_at, flags_at = pointers((x, y, flags))
    for block in range(start, stop):
        base, last_row = block * together * width, min((block + 1) * together, num_rows)
        for row in range(block * together, last_row):
            first, end = row * width, (row + 1) * width
            if kept and protected[row]:
                copy_flagged(x_at, y_at, flags_at, base, first, end, *relu)
                first = end
            while first < end:
                last = min(first + size, end)
                grid = row_grid(*extremes(x_at, first, last, INFINITY, -INFINITY), rule)
                if noisy:
                    _round_chosen(x_at, y_at, flags_at, base, first, last, grid, ends, relu, noise)
                elif wanted:
                    _round_flagged(x_at, y_at, flags_at, base, first, last, grid, ends, relu)
                else:
                    round_row(x_at, y_at, first, last, grid, relu[0])
                first = last
        if wanted:
            count = last_row * width - base
            for i in range(count, (count + WORD - 1) // WORD * WORD):
                flags[i] = 0  # unused bits of the last word
            for word in range((count + WORD - 1) // WORD):
                bits[base // WORD + word] = pack(flags, word * WORD)
    hold((flags,))


@kernel
def _forward_sparse(
    part: int, num_parts: int, values: Array, y: Array, ptr: Array, zeros: Array, protected: Array, rule: Rule
) -> None:
    """y = values rounded; ptr [N + 1]: the first value of each row; zeros [N]: how many zeros it leaves out."""
    kept, zero = protected.size > 0, np.float32(0)
    start, stop = share(part, num_parts, zeros.size)
    x_at, y_at = pointers((values, y))
    for row in range(start, stop):
        first, last = ptr[row], ptr[row + 1]
        if kept and protected[row]:
            for i in range(first, last):
                y_at[i] = x_at[i]
        elif first < last:
            left = zeros[row] > 0
            low, high = extremes(x_at, first, last, zero if left else INFINITY, zero if left else -INFINITY)
            round_row(x_at, y_at, first, last, row_grid(low, high, rule), -INFINITY)


def _rounded(x: Tensor, mask: Array, size: int, *rest: Any) -> Tensor:
    """x rounded; mask (empty: none wanted): to be filled with where the gradient passes."""
    *fields, protected, estimator, relu, rate, low, high = rest
    grid, y = Grid(*fields), empty_like(x)
    if x.numel():
        width = width_of(x)
        shape = x.size(0), width, size or width, WORD // math.gcd(width, WORD)
        ends = (grid.qmin + 1, grid.qmax - 1) if estimator == "clipped_ends" else (-INFINITY, INFINITY)
        least = (np.float32(0), SMALLEST) if relu else (-INFINITY, -INFINITY)
        limits: Any = (np.float32(ends[0]), np.float32(ends[1]))
        noise, flags = noise_values(rate, low, high), optional(protected, NO_FLAGS)
        _forward(parts(x.numel()), array(x), array(y), mask, flags, shape, rule_values(grid), noise, limits, least)
    return y


def fake_quantize_rows(x: Tensor, size: int, *rest: Any) -> Tensor:
    return _rounded(x, NO_WORDS, size, *rest)


def fake_quantize_rows_cachemask(x: Tensor, size: int, *rest: Any) -> tuple[Tensor, Tensor]:
    mask = torch.empty(-(-x.numel() // WORD), dtype=torch.int32)
    return _rounded(x, array(mask).view(np.uint32), size, *rest), mask


def fake_quantize_sparse_rows(
    x: Tensor, ptr: Tensor, _row: Tensor, zeros: Tensor, protected: Tensor | None, *fields: Any
) -> Tensor:
    y = empty_like(x)
    if x.numel():
        where, flags = (array(ptr), array(zeros)), optional(protected, NO_FLAGS)
        rule = rule_values(Grid(*fields).with_zero())
        _forward_sparse(parts(x.numel()), array(x), array(y), *where, flags, rule)
    return y
