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
MOST_ROWS = 32  # that are encoded together
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
    first = b.splat(b.load(x, start, F32), LANES)

    def both(v: Any, olds: Values) -> Values:
        return [_smaller(b, v, olds[0]), _larger(b, v, olds[1])]

    def step(index: Any, olds: Values) -> Values:
        return both(b.load(x, b.ir.add(start, b.ir.mul(index, I64(LANES))), FLOATS), olds)

    found = b.loop(b.ir.ashr(count, I64(4)), [first, first], step)
    left = b.ir.and_(count, I64(LANES - 1))

    def rest(olds: Values) -> Values:
        place = b.ir.add(start, b.ir.sub(count, left))
        lanes = ir.Constant(ir.VectorType(I64, LANES), list(range(LANES)))
        mask = b.ir.icmp_signed("<", lanes, b.splat(left, LANES))
        v = b.ir.select(mask, b.load_some(x, place, FLOATS, left), first)
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
        v = b.ir.fsub(b.load_some(x, b.ir.add(start, place), FLOATS, left), shift)
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


def _halved(b: Builder, v: Any, choose: Any) -> Any:
    """The least or largest lane of a vector."""
    lanes = LANES
    while lanes > 1:
        lanes //= 2
        parts = (list(range(start, start + lanes)) for start in (0, lanes))
        low, high = (
            b.ir.shuffle_vector(v, ir.Constant(v.type, ir.Undefined), ir.Constant(ir.VectorType(I32, lanes), part))
            for part in parts
        )
        v = choose(b, low, high)
    return b.ir.extract_element(v, I32(0))


def _emit_ends(b: Builder) -> None:
    """ends[r] and ends[MOST_ROWS + r]: least and largest of count numbers of row r, x[begin + r * stride..].

    Arguments: x, begin, rows, stride, count, ends.
    """
    x, begin, rows, stride, count, ends = b.args
    left = b.ir.and_(count, I64(LANES - 1))
    lanes = ir.Constant(ir.VectorType(I64, LANES), list(range(LANES)))
    mask = b.ir.icmp_signed("<", lanes, b.splat(left, LANES))

    def one_row(r: Any, _: Values) -> Values:
        start = b.ir.add(begin, b.ir.mul(r, stride))
        first = b.splat(b.load(x, start, F32), LANES)

        def both(v: Any, olds: Values) -> Values:
            return [_smaller(b, v, olds[0]), _larger(b, v, olds[1])]

        def step(index: Any, olds: Values) -> Values:
            return both(b.load(x, b.ir.add(start, b.ir.mul(index, I64(LANES))), FLOATS), olds)

        def rest(olds: Values) -> Values:
            v = b.load(x, b.ir.add(start, b.ir.sub(count, left)), FLOATS)
            return both(b.ir.select(mask, v, first), olds)

        found = b.loop(b.ir.ashr(count, I64(4)), [first, first], step)
        low, high = b.when(b.ir.icmp_signed(">", left, I64(0)), found, rest)
        b.store(_halved(b, low, _smaller), ends, r)
        b.store(_halved(b, high, _larger), ends, b.ir.add(r, I64(MOST_ROWS)))
        return []

    b.loop(rows, [], one_row)


class _Numbers:
    """Scales and offsets of LANES rows at a time, from their extremes: `encode_row`, lane by lane."""

    def __init__(self, b: Builder) -> None:
        self.b = b
        self.rows, self.ends, rule, self.numbers, self.row = b.args
        kind, power_of_two, factor, top, half, share = (b.load(rule, I64(i), F32) for i in range(6))
        self.kind, self.factor, self.top, self.half, self.share = (
            b.splat(value, LANES) for value in (kind, factor, top, half, share)
        )
        self.power_of_two = b.ir.fcmp_ordered("!=", power_of_two, F32(0.0))
        self.has_share = b.ir.fcmp_ordered(">", share, F32(0.0))
        self.signed = self._is_above(self.half)
        self.zero = self._constant(0.0)

    def emit(self) -> None:
        self.b.loop(self.b.ir.ashr(self.b.ir.add(self.rows, I64(LANES - 1)), I64(4)), [], self._some)

    def _constant(self, value: Any) -> Any:
        return ir.Constant(FLOATS, [float(value)] * LANES)

    def _is_above(self, v: Any) -> Any:
        return self.b.ir.fcmp_ordered(">", v, self._constant(0.0))

    def _is(self, *kinds: int) -> Any:
        found = [self.b.ir.fcmp_ordered("==", self.kind, self._constant(kind)) for kind in kinds]
        return found[0] if len(found) == 1 else self.b.ir.or_(*found)

    def _whole(self, v: Any) -> Any:
        return self.b.call(f"llvm.rint.v{LANES}f32", FLOATS, [v])

    def _some(self, index: Any, _: Values) -> Values:
        b, place = self.b, self.b.ir.mul(index, I64(LANES))
        ends = (b.load(self.ends, b.ir.add(place, I64(MOST_ROWS * i)), FLOATS) for i in range(2))
        low, high = (_within(b, end) for end in ends)
        low, high = b.when(self.has_share, [low, high], self._shared)
        with_zero = self._is(INSIDE, SYMMETRIC)
        low = b.ir.select(with_zero, _smaller(b, low, self.zero), low)
        high = b.ir.select(with_zero, _larger(b, high, self.zero), high)
        low, high = b.ir.fmul(low, self.factor), b.ir.fmul(high, self.factor)
        (scale,) = b.when(self.power_of_two, [self._scale(low, high)], self._up)
        inverse = b.ir.fdiv(self._constant(1.0), scale)
        shift, code = self._offset(low, scale, inverse)
        for i, value in enumerate((shift, inverse, code)):
            b.store(value, self.ends, b.ir.add(place, I64(MOST_ROWS * i)))
        offset = b.ir.select(self._is(REAL), low, b.ir.fsub(self.zero, code))
        self._store(scale, offset, place)
        return []

    def _shared(self, ends: Values) -> Values:
        b, two = self.b, self._constant(2.0)
        reach = b.ir.fmul(b.ir.fdiv(b.ir.fsub(ends[1], ends[0]), two), self.share)
        middle = b.ir.fdiv(b.ir.fadd(*ends), two)
        return [b.ir.fsub(middle, reach), b.ir.fadd(middle, reach)]

    def _scale(self, low: Any, high: Any) -> Any:
        b, span = self.b, self.b.ir.fsub(high, low)
        size = _larger(b, b.ir.fsub(self.zero, low), high)
        span = b.ir.select(self._is(INTEGER), _larger(b, span, b.ir.fdiv(size, self._constant(AWAY))), span)
        symmetric, signed = self._is(SYMMETRIC), self.signed
        span = b.ir.select(symmetric, b.ir.select(signed, size, high), span)
        steps = b.ir.select(b.ir.and_(symmetric, signed), self.half, self.top)
        return _larger(b, b.ir.fdiv(span, steps), self._constant(LEAST))

    def _up(self, scales: Values) -> Values:
        b, words = self.b, ir.VectorType(I32, LANES)
        more, mask = (ir.Constant(words, [value] * LANES) for value in (0x7FFFFF, -0x800000))
        return [b.ir.bitcast(b.ir.and_(b.ir.add(b.ir.bitcast(scales[0], words), more), mask), FLOATS)]

    def _offset(self, low: Any, scale: Any, inverse: Any) -> Values:
        """What is taken from numbers before they are divided by the scale, and the code of 0."""
        b = self.b
        away = b.ir.fsub(self.zero, self._whole(b.ir.fmul(low, inverse)))
        inside = b.ir.fsub(self.zero, self._whole(b.ir.fdiv(low, scale)))
        inside = _smaller(b, _larger(b, inside, self.zero), self.top)
        code = b.ir.select(self._is(INTEGER), away, b.ir.select(self._is(INSIDE), inside, self.half))
        real = self._is(REAL)
        return [b.ir.select(real, low, self.zero), b.ir.select(real, self.zero, code)]

    def _store(self, scale: Any, offset: Any, place: Any) -> None:
        """Scale and offset of each row, side by side, of the rows that there are."""
        b, left = self.b, self.b.ir.sub(self.rows, place)
        for half in range(2):
            first = half * LANES // 2
            lanes = [lane for i in range(first, first + LANES // 2) for lane in (i, LANES + i)]
            both = b.ir.shuffle_vector(scale, offset, ir.Constant(ir.VectorType(I32, LANES), lanes))
            count = b.ir.mul(b.ir.sub(left, I64(first)), I64(2))
            at = b.ir.mul(b.ir.add(self.row, b.ir.add(place, I64(first))), I64(2))

            def some(_: Values, both: Any = both, count: Any = count, at: Any = at) -> Values:
                b.store_some(both, self.numbers, at, count)
                return []

            b.when(b.ir.icmp_signed(">", count, I64(0)), [], some)


def _emit_numbers(b: Builder) -> None:
    """numbers[row..row + rows] from ends, which become what `_emit_codes` reads. Arguments: see `_Numbers`."""
    _Numbers(b).emit()


def _emit_codes(b: Builder) -> None:
    """codes[at + r * code_stride..] = clamp(rint((x - shift) * inverse) + zero, 0, top), x the row r.

    That begins at first + r * stride. Arguments: x, first, rows, stride, count, ends, rule, codes, at, code_stride.
    """
    x, first, rows, stride, count, ends, rule, codes, at, code_stride = b.args
    zero, top = ir.Constant(FLOATS, [0.0] * LANES), b.splat(b.load(rule, I64(3), F32), LANES)

    def one_row(r: Any, _: Values) -> Values:
        start, begin = b.ir.add(first, b.ir.mul(r, stride)), b.ir.add(at, b.ir.mul(r, code_stride))
        places = (b.ir.add(r, I64(MOST_ROWS * i)) for i in range(3))
        shift, inverse, zero_code = (b.splat(b.load(ends, place, F32), LANES) for place in places)

        def step(index: Any, _: Values) -> Values:
            place = b.ir.mul(index, I64(LANES))
            v = b.ir.fsub(b.load(x, b.ir.add(start, place), FLOATS), shift)
            v = b.ir.fadd(b.call(f"llvm.rint.v{LANES}f32", FLOATS, [b.ir.fmul(v, inverse)]), zero_code)
            v = _smaller(b, _larger(b, v, zero), top)
            code = b.ir.trunc(b.ir.fptosi(v, ir.VectorType(I32, LANES)), ir.VectorType(I8, LANES))
            b.store_some(code, codes, b.ir.add(begin, place), b.ir.sub(count, place))
            return []

        return b.loop(b.ir.ashr(b.ir.add(count, I64(LANES - 1)), I64(4)), [], step)

    b.loop(rows, [], one_row)


_ends, _numbers, _codes = make(_emit_ends), make(_emit_numbers), make(_emit_codes)


@inner
def encode_rows(
    x: Any,
    start: int,
    rows: int,
    stride: int,
    count: int,
    ends: Any,
    rule: Rule,
    numbers: Any,
    row: int,
    codes: Any,
    at: int,
    code_stride: int,
) -> None:
    """`encode_row` for up to MOST_ROWS rows r, x[start + r * stride..].

    Their codes go to codes[at + r * code_stride..], their numbers to numbers[row + r]. ends: scratch, float32
    [3 * MOST_ROWS]. All arrays are pointers; LANES more of x can be read.
    """
    _ends((x, start, rows, stride, count, ends))
    _numbers((rows, ends, rule, numbers, row))
    _codes((x, start, rows, stride, count, ends, rule, codes, at, code_stride))


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
    low, high = min(max(numbers[place], -MOST), MOST), min(max(numbers[place + 1], -MOST), MOST)
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
