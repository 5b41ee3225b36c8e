"""Encodes rows that have their own grids: a row's extremes, its scale and offset, its codes, in float32 as in training.

The operations are those of `grid_of_range.Grid`, one by one, for LANES rows at a time.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dqrun.kernels.cpu.launch import inner
from dqrun.kernels.cpu.structure import INTEGER, REAL, Packed, Structure
from dqrun.kernels.cpu.vector import (
    F32x16,
    I32x16,
    U8x16,
    cast_bits,
    convert,
    high_half,
    highest_lane,
    interleave,
    lanes_below,
    load,
    load_first,
    low_half,
    lowest_lane,
    maximum,
    minimum,
    rint,
    splat,
    store,
    store_first,
    where,
)
from dqrun.kernels.grid_of_range import MOST_RANGES_AWAY, SMALLEST_SCALE
from dqrun.kernels.integer.codes import Grid
from dqrun.kernels.integer.cpu.rows_of_codes import (
    INSIDE,
    INTEGRAL,
    KINDS,
    LANES,
    NO_ROWS,
    REAL_OFFSET,
    SYMMETRIC,
    placed,
)
from dqrun.kernels.integer.row_grid import LARGEST_VALUE, RowGrid

MOST_ROWS = 32  # most rows that are encoded together
ENDS = 3 * MOST_ROWS  # float32 of scratch
LEAST, MOST, AWAY = np.float32(SMALLEST_SCALE), np.float32(LARGEST_VALUE), np.float32(MOST_RANGES_AWAY)
ZERO, ONE, TWO = np.float32(0), np.float32(1), np.float32(2)
MANTISSA, EXPONENT = 0x7FFFFF, -0x800000  # bits of a float32

RULE = Structure(
    "Rule",
    kind=INTEGER,  # of offsets; NO_ROWS: rows get no grids
    power_of_two=INTEGER,  # whether scales are
    factor=REAL,  # 1 + headroom
    top=REAL,  # the largest code
    half=REAL,  # the code of 0 on a symmetric grid
    share=REAL,  # of the range; 0: the range unchanged
)


def rule_of(grid: Grid | None) -> Packed:
    """The rule by which scale, offset and codes follow from a row's extremes, packed for the kernels."""
    if not isinstance(grid, RowGrid):
        return RULE.pack(kind=NO_ROWS, power_of_two=0, factor=1, top=0, half=0, share=0)
    half = grid.top // 2 * grid.spare
    factor, share = 1.0 + grid.headroom, grid.share or 0.0
    kind, power = KINDS[grid.offset], grid.power_of_two
    return RULE.pack(kind=kind, power_of_two=power, factor=factor, top=grid.top, half=half, share=share)


@inner
def encode_rows(
    x: Any, start: int, stride: int, count: int, rows: int, rule: Any, ends: Any, numbers: Any, codes: Any, planes: int
) -> None:
    """Writes scales and offsets to `numbers` and codes to `codes`, `planes` in a byte; `rows` is at most MOST_ROWS.

    Row r is x[start + r * stride..], `count` >= 1 float32; nothing behind it is read. ends: scratch, float32 [ENDS].
    """
    _find_ends(x, start, stride, count, rows, ends)
    for place in range(0, rows, LANES):
        _find_numbers(rule, ends, place, numbers, rows - place)
    width, top = (count + planes - 1) // planes, np.float32(rule.top)
    for r in range(rows):
        factors = (ends[r], ends[MOST_ROWS + r], ends[2 * MOST_ROWS + r], top)
        encode_row(x, start + r * stride, count, factors, codes, r * width, planes)


@inner
def _find_ends(x: Any, start: int, stride: int, count: int, rows: int, ends: Any) -> None:
    """Sets ends[r] and ends[MOST_ROWS + r] to the least and the largest value of row r."""
    left = count % LANES
    for r in range(rows):
        begin = start + r * stride
        first = splat(F32x16, x[begin])
        low, high = first, first
        for place in range(begin, begin + count - left, LANES):
            v = load(F32x16, x, place)
            low, high = minimum(v, low), maximum(v, high)
        if left:
            v = where(lanes_below(F32x16, left), load_first(F32x16, x, begin + count - left, left), first)
            low, high = minimum(v, low), maximum(v, high)
        ends[r], ends[MOST_ROWS + r] = lowest_lane(low), highest_lane(high)


@inner
def _find_numbers(rule: Any, ends: Any, place: int, numbers: Any, rows: int) -> None:
    """Writes scale and offset of the rows from `place` on, at most LANES, of `rows` that are left.

    `ends` then holds the shift, the inverse scale and the code of 0 of each row, as `encode_row` reads them.
    """
    low = minimum(maximum(load(F32x16, ends, place), -MOST), MOST)
    high = minimum(maximum(load(F32x16, ends, place + MOST_ROWS), -MOST), MOST)
    if rule.share > 0.0:
        reach, middle = (high - low) / TWO * np.float32(rule.share), (low + high) / TWO
        low, high = middle - reach, middle + reach
    if rule.kind == INSIDE or rule.kind == SYMMETRIC:
        low, high = minimum(low, ZERO), maximum(high, ZERO)
    low, high = low * np.float32(rule.factor), high * np.float32(rule.factor)
    scale = _scale(rule, low, high)
    if rule.power_of_two:  # rounded up to the next power: scales are normal numbers
        scale = cast_bits(F32x16, (cast_bits(I32x16, scale) + MANTISSA) & EXPONENT)
    inverse = ONE / scale
    shift, code = _offset(rule, low, scale, inverse)
    store(ends, place, shift)
    store(ends, place + MOST_ROWS, inverse)
    store(ends, place + 2 * MOST_ROWS, code)
    offset = where(rule.kind == REAL_OFFSET, low, ZERO - code)
    store_first(numbers, 2 * place, interleave(low_half(scale), low_half(offset)), 2 * rows)
    if rows > LANES // 2:
        left = 2 * rows - LANES
        store_first(numbers, 2 * place + LANES, interleave(high_half(scale), high_half(offset)), left)


@inner
def _scale(rule: Any, low: Any, high: Any) -> Any:
    top, half = np.float32(rule.top), np.float32(rule.half)
    size = maximum(ZERO - low, high)
    if rule.kind == SYMMETRIC:
        span = where(rule.half > 0.0, size, high) / (half if rule.half > 0.0 else top)
    elif rule.kind == INTEGRAL:
        span = maximum(high - low, size / AWAY) / top
    else:
        span = (high - low) / top
    return maximum(span, LEAST)


@inner
def _offset(rule: Any, low: Any, scale: Any, inverse: Any) -> tuple[Any, Any]:
    """The shift, which is subtracted from values before the division by the scale, and the code of 0."""
    none = splat(F32x16, ZERO)
    if rule.kind == REAL_OFFSET:
        return low, none
    if rule.kind == INTEGRAL:
        return none, ZERO - rint(low * inverse)
    if rule.kind == INSIDE:
        return none, minimum(maximum(ZERO - rint(low / scale), ZERO), np.float32(rule.top))
    return none, splat(F32x16, np.float32(rule.half))


@inner
def encode_row(x: Any, start: int, count: int, factors: Any, codes: Any, at: int, planes: int) -> None:
    """Writes the codes of x[start..start + count], `planes` in a byte, to codes[at..].

    clamp(rint((x - shift) * inverse) + zero, 0, top); factors: shift, inverse, zero, top, all float32.
    """
    shift, inverse, zero, top = factors
    width, size = (count + planes - 1) // planes, 8 // planes
    for place in range(0, width, LANES):
        byte = splat(I32x16, 0)
        for plane in range(planes):
            channel = plane * width + place
            left = count - channel
            if left > 0:
                v = load_first(F32x16, x, start + channel, left) - shift
                code = minimum(maximum(rint(v * inverse) + zero, ZERO), top)
                byte = byte | placed(convert(I32x16, code), plane * size, left)
        store_first(codes, at + place, convert(U8x16, byte), width - place)
