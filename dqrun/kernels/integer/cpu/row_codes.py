"""Rows with grids of their own: a row's extremes, its scale and offset, and its codes, in float32 as in training."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir

from dqrun.kernels.cpu.launch import Array, inner
from dqrun.kernels.grid_of_range import MOST_RANGES_AWAY, SMALLEST_SCALE
from dqrun.kernels.integer.cpu.vectors import F32, I8, I32, I64, LANES, Builder, Values, make
from dqrun.kernels.integer.row_grid import LARGEST_VALUE, RowGrid

FLOATS = ir.VectorType(F32, LANES)
KINDS = {"inside": 0, "integer": 1, "real": 2, "symmetric": 3}
INSIDE, INTEGER, REAL, SYMMETRIC = KINDS.values()
NO_ROWS = -1
LEAST, MOST, AWAY = np.float32(SMALLEST_SCALE), np.float32(LARGEST_VALUE), np.float32(MOST_RANGES_AWAY)
ZERO, ONE, TWO = np.float32(0), np.float32(1), np.float32(2)

# float32: kind of offset, whether scales are powers of two, 1 + headroom, largest code, the code of 0 on a symmetric
# grid, share of the range (0: all of it, as it is). An array: tuples within tuples do not enter a parallel region.
Rule = Any
NO_RULE: Array = np.zeros(6, np.float32)


def rule_of(grid: RowGrid) -> Array:
    """How numbers and codes follow from a row's extremes."""
    numbers = KINDS[grid.offset], grid.power_of_two, 1.0 + grid.headroom, grid.top
    return np.array([*numbers, grid.top // 2 * grid.spare, grid.share or 0.0], np.float32)


def _larger(b: Builder, v: Any, w: Any) -> Any:
    return b.ir.select(b.ir.fcmp_ordered(">", v, w), v, w)


def _smaller(b: Builder, v: Any, w: Any) -> Any:
    return b.ir.select(b.ir.fcmp_ordered("<", v, w), v, w)


def _within(b: Builder, v: Any) -> Any:
    """Clamped to LARGEST_VALUE on both sides."""
    most, least = (ir.Constant(FLOATS, [sign * LARGEST_VALUE] * LANES) for sign in (1, -1))
    return _smaller(b, _larger(b, v, least), most)


def _emit_extremes(b: Builder) -> None:
    """Least and largest of count >= 1 float32 numbers x[start..], to ends[at] and ends[at + 1]. Arguments: those."""
    x, start, count, ends, at = b.args
    first = _within(b, b.splat(b.load(x, start, F32), LANES))

    def both(v: Any, olds: Values) -> Values:
        return [_smaller(b, v, olds[0]), _larger(b, v, olds[1])]

    def step(index: Any, olds: Values) -> Values:
        return both(_within(b, b.load(x, b.ir.add(start, b.ir.mul(index, I64(LANES))), FLOATS)), olds)

    found = b.loop(b.ir.ashr(count, I64(4)), [first, first], step)
    left = b.ir.and_(count, I64(LANES - 1))

    def rest(olds: Values) -> Values:
        place = b.ir.add(start, b.ir.sub(count, left))
        lanes = ir.Constant(ir.VectorType(I64, LANES), list(range(LANES)))
        mask = b.ir.icmp_signed("<", lanes, b.splat(left, LANES))
        v = b.ir.select(mask, _within(b, b.load_some(x, place, FLOATS, left)), first)
        return both(v, olds)

    found = b.when(b.ir.icmp_signed(">", left, I64(0)), found, rest)
    for place, (name, vector) in enumerate(zip(("fmin", "fmax"), found, strict=True)):
        value = b.call(f"llvm.vector.reduce.{name}.v{LANES}f32", F32, [vector])
        b.store(value, ends, b.ir.add(at, I64(place)))


def _emit_encode(b: Builder) -> None:
    """codes[at..] = clamp(rint((x - shift) * inverse) + zero, 0, top) of x[start..start + count].

    Arguments: x, start, count, shift, inverse, zero, top, codes, at.
    """
    x, start, count, *rule, codes, at = b.args
    shift, inverse, zero_code, top = (b.splat(b.ir.fptrunc(value, F32), LANES) for value in rule)
    zero = ir.Constant(FLOATS, [0.0] * LANES)

    def step(index: Any, _: Values) -> Values:
        place = b.ir.mul(index, I64(LANES))
        left = b.ir.sub(count, place)
        v = b.ir.fsub(_within(b, b.load_some(x, b.ir.add(start, place), FLOATS, left)), shift)
        v = b.ir.fadd(b.call(f"llvm.rint.v{LANES}f32", FLOATS, [b.ir.fmul(v, inverse)]), zero_code)
        v = _smaller(b, _larger(b, v, zero), top)
        code = b.ir.trunc(b.ir.fptosi(v, ir.VectorType(I32, LANES)), ir.VectorType(I8, LANES))
        b.store_some(code, codes, b.ir.add(at, place), left)
        return []

    b.loop(b.ir.ashr(b.ir.add(count, I64(LANES - 1)), I64(4)), [], step)


def _emit_up(b: Builder) -> None:
    """numbers[at] becomes the least power of two that is not below it, a normal float32. Arguments: numbers, at."""
    numbers, at = b.args
    bits = b.ir.add(b.load(numbers, at, I32), I32(0x7FFFFF))
    b.store(b.ir.and_(bits, I32(-0x800000)), numbers, at)


def _emit_whole(b: Builder) -> None:
    """numbers[at] is rounded, half to even. Arguments: numbers, at."""
    numbers, at = b.args
    b.store(b.call("llvm.rint.f32", F32, [b.load(numbers, at, F32)]), numbers, at)


_extremes, _encode, _up, _whole = (make(emit) for emit in (_emit_extremes, _emit_encode, _emit_up, _emit_whole))


@inner
def _scale(step: Any, rule: Rule, numbers: Any, at: int) -> Any:
    """The scale of a step, which it also stores in numbers[at]."""
    numbers[at] = max(step, LEAST)
    if rule[1] != ZERO:
        _up((numbers, at))
    return numbers[at]


@inner
def _rounded(value: Any, numbers: Any, at: int) -> Any:
    """The nearest whole number, half to even, which it also stores in numbers[at]."""
    numbers[at] = value
    _whole((numbers, at))
    return numbers[at]


@inner
def encode_row(x: Any, start: int, count: int, rule: Rule, numbers: Any, row: int, codes: Any, at: int) -> None:
    """The codes of x[start..start + count], float32, to codes[at..], and numbers[row]: scale and offset, float32.

    All arrays are pointers. The operations are those of `grid_of_range.Grid`, one by one.
    """
    kind, factor, top, half, share = int(rule[0]), rule[2], rule[3], rule[4], rule[5]
    place = 2 * row
    if count < 1:
        numbers[place], numbers[place + 1] = LEAST, ZERO
        return
    _extremes((x, start, count, numbers, place))
    low, high = numbers[place], numbers[place + 1]
    if share > ZERO:
        reach, middle = (high - low) / TWO * share, (low + high) / TWO
        low, high = middle - reach, middle + reach
    if kind in (INSIDE, SYMMETRIC):
        low, high = min(low, ZERO), max(high, ZERO)
    low, high = low * factor, high * factor
    shift, zero = ZERO, ZERO
    if kind == SYMMETRIC:
        size = max(-low, high) / half if half > ZERO else high / top
        scale = _scale(size, rule, numbers, place)
        zero = half
    elif kind == INTEGER:
        size = max(-low, high) / AWAY
        scale = _scale(max(high - low, size) / top, rule, numbers, place)
        zero = -_rounded(low * (ONE / scale), numbers, place + 1)
    else:
        scale = _scale((high - low) / top, rule, numbers, place)
        if kind == REAL:
            shift = low
        else:
            zero = min(max(-_rounded(low / scale, numbers, place + 1), ZERO), top)
    numbers[place + 1] = shift if kind == REAL else -zero
    _encode((x, start, count, shift, ONE / scale, zero, top, codes, at))
