"""The inner loops of `attention`: powers of logits, and sums of rows of codes weighted by them.

Heads are padded to whole vectors of LANES; a `state` is the largest logit, then the sum of powers, of each, then the
sum of powers times what code 0 of the edge's source stands for (0 where rows have no grids of their own).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir

from dqrun.kernels.cpu.launch import inner
from dqrun.kernels.integer.cpu.finish import row_values
from dqrun.kernels.integer.cpu.vectors import F32, HAS_AVX512F, I8, I32, I64, LANES, Builder, Values, make, zeros

CHUNK = 64  # edges whose powers wait in the cache
FLOATS, WORDS = ir.VectorType(F32, LANES), ir.VectorType(I32, LANES)
LOG2_E, LN2_HIGH, LN2_LOW = 1.44269504, 0.693359375, -2.12194440e-4  # Cephes
EXP_TERMS = (1 / 5040, 1 / 720, 1 / 120, 1 / 24, 1 / 6, 0.5, 1.0, 1.0)
LOWEST_EXPONENT = -87.0


def _constant(value: float) -> Any:
    return ir.Constant(FLOATS, [value] * LANES)


def _larger(b: Builder, v: Any, w: Any) -> Any:
    return b.ir.select(b.ir.fcmp_ordered(">", v, w), v, w)


def _leaky(b: Builder, v: Any, slope: Any) -> Any:
    return _larger(b, v, b.ir.fmul(v, slope))


def _exp(b: Builder, v: Any) -> Any:
    """e^v for v <= 0, to two units of the last place: n ln 2 + r, Taylor series of r, times 2^n."""
    v = _larger(b, v, _constant(LOWEST_EXPONENT))
    n = b.call(f"llvm.rint.v{LANES}f32", FLOATS, [b.ir.fmul(v, _constant(LOG2_E))])
    r = b.ir.fsub(v, b.ir.fmul(n, _constant(LN2_HIGH)))
    r = b.ir.fsub(r, b.ir.fmul(n, _constant(LN2_LOW)))
    p = _constant(EXP_TERMS[0])
    for term in EXP_TERMS[1:]:
        p = b.ir.fadd(b.ir.fmul(p, r, flags=("contract",)), _constant(term), flags=("contract",))
    exponent = b.ir.add(b.ir.fptosi(n, WORDS), ir.Constant(WORDS, [127] * LANES))
    return b.ir.fmul(p, b.ir.bitcast(b.ir.shl(exponent, ir.Constant(WORDS, [23] * LANES)), FLOATS))


def _emit_largest(b: Builder) -> None:
    """state[at..] = leaky(largest of source over the edges first..last + target of the row), for LANES heads.

    Arguments: source, heads, first head, col, first, count, number of edges in all, target, row, slope, state.
    """
    source, heads, at, col, first, count, limit, target, row, slope, state = b.args

    def step(index: Any, values: Values) -> Values:
        edge = b.ir.add(first, index)
        b.request(col, edge, limit, heads, at, source, 1)
        return [_larger(b, b.load(source, b.row(col, edge, heads, at), FLOATS), values[0])]

    (top,) = b.loop(count, [_constant(float("-inf"))], step)
    own = b.load(target, b.ir.add(b.ir.mul(row, heads), at), FLOATS)
    v = _leaky(b, b.ir.fadd(top, own), b.splat(b.ir.fptrunc(slope, F32), LANES))
    b.store(v, state, at)


def _emit_powers(b: Builder) -> None:
    """p[e, at..] = exp(logit of edge first + e - largest), for LANES heads; adds them to the state's sums.

    Arguments: as `_emit_largest`, then padded heads and p.
    """
    source, heads, at, col, first, count, _, target, row, slope, state, padded, p = b.args
    own = b.load(target, b.ir.add(b.ir.mul(row, heads), at), FLOATS)
    top, slopes = b.load(state, at, FLOATS), b.splat(b.ir.fptrunc(slope, F32), LANES)

    def step(index: Any, sums: Values) -> Values:
        half = b.load(source, b.row(col, b.ir.add(first, index), heads, at), FLOATS)
        power = _exp(b, b.ir.fsub(_leaky(b, b.ir.fadd(half, own), slopes), top))
        b.store(power, p, b.ir.add(b.ir.mul(index, padded), at))
        return [b.ir.fadd(sums[0], power)]

    (total,) = b.loop(count, [zeros(F32, LANES)], step)
    place = b.ir.add(padded, at)
    b.store(b.ir.fadd(b.load(state, place, FLOATS), total), state, place)


def _of_heads(b: Builder, values: Any, at: Any, heads: Any, permuted: bool) -> Any:
    """The values of the heads with these numbers (a vector); `permuted`: all heads are in one vector."""
    if permuted:
        return b.call("llvm.x86.avx512.permvar.sf.512", FLOATS, [b.load(values, at, FLOATS), heads])
    vector = ir.Constant(FLOATS, ir.Undefined)
    for lane in range(LANES):
        head = b.ir.sext(b.ir.extract_element(heads, I32(lane)), I64)
        vector = b.ir.insert_element(vector, b.load(values, b.ir.add(at, head), F32), I32(lane))
    return vector


def _emit_weighted(b: Builder, num_bytes: int, packed: bool, permuted: bool) -> None:
    """acc[c] += the sum over the edges first..first + count of p[e, head of c] * (code - zero point).

    As `_emit_sum`, for the bytes offset + c of rows. Arguments: x, bytes of a row, offset, zero point, col, first,
    count, number of edges in all, p, padded heads, places (the head of each c), acc, high.
    """
    x, stride, offset, zero_point, col, first, count, limit, p, padded, places, acc, high = b.args
    vectors = num_bytes // LANES
    shifts = (0, 4) if packed else (0,)
    ats = [
        b.ir.add(b.ir.add(offset, I64(LANES * v)), high if shift else I64(0))
        for shift in shifts
        for v in range(vectors)
    ]
    heads = [b.load(places, at, WORDS) for at in ats]
    zero = b.splat(b.ir.trunc(zero_point, I32), LANES)

    def step(index: Any, sums: Values) -> Values:
        edge = b.ir.add(first, index)
        b.request(col, edge, limit, stride, offset, x, num_bytes)
        row, weights = b.row(col, edge, stride, offset), b.ir.mul(index, padded)
        results = []
        for i, old in enumerate(sums):
            codes = b.load(x, b.ir.add(row, I64(LANES * (i % vectors))), ir.VectorType(I8, LANES))
            if packed:
                fifteen, four = (ir.Constant(codes.type, [value] * LANES) for value in (15, 4))
                codes = b.ir.lshr(codes, four) if i >= vectors else b.ir.and_(codes, fifteen)
            value = b.ir.sitofp(b.ir.sub(b.ir.zext(codes, WORDS), zero), FLOATS)
            term = b.ir.fmul(value, _of_heads(b, p, weights, heads[i], permuted), flags=("contract",))
            results.append(b.ir.fadd(old, term, flags=("contract",)))
        return results

    for at, value in zip(ats, b.loop(count, [zeros(F32, LANES)] * len(ats), step), strict=True):
        b.store(b.ir.fadd(b.load(acc, at, FLOATS), value), acc, at)


def _emit_scale(b: Builder, permuted: bool) -> None:
    """acc[c] /= sum of the head of c, where it is not 0. Arguments: acc, count, state, padded heads, places."""
    acc, count, state, padded, places = b.args

    def step(index: Any, _: Values) -> Values:
        at = b.ir.mul(index, I64(LANES))
        total = _of_heads(b, state, padded, b.load(places, at, WORDS), permuted)
        total = b.ir.select(b.ir.fcmp_ordered("==", total, _constant(0.0)), _constant(1.0), total)
        b.store(b.ir.fdiv(b.load(acc, at, FLOATS), total), acc, at)
        return []

    b.loop(b.ir.ashr(count, I64(4)), [], step)


def _emit_fill(b: Builder) -> None:
    """Zeros. Arguments: float32 values, count (a multiple of LANES)."""
    values, count = b.args

    def step(index: Any, _: Values) -> Values:
        b.store(zeros(F32, LANES), values, b.ir.mul(index, I64(LANES)))
        return []

    b.loop(b.ir.ashr(count, I64(4)), [], step)


fill, _largest, _powers = make(_emit_fill), make(_emit_largest), make(_emit_powers)
_scale, _scale_any = make(_emit_scale, True), make(_emit_scale, False)
_bytes_64, _bytes_128 = (make(_emit_weighted, size, False, True) for size in (64, 128))
_nibbles_32, _nibbles_64 = (make(_emit_weighted, size, True, True) for size in (32, 64))
_bytes_any, _nibbles_any = (make(_emit_weighted, 32, packed, False) for packed in (False, True))


@inner
def padded_places(width: int) -> int:
    """Bytes of a row rounded up to whole blocks."""
    return (width + 63) // 64 * 64


@inner
def padded_heads(heads: int) -> int:
    """Heads rounded up to whole vectors."""
    return (heads + LANES - 1) // LANES * LANES


@inner
def largest(y: Any, x: Any, col: Any, row: int, first: int, last: int, state: Any) -> None:
    """The largest logit of each head over the edges first..last of a row, into state."""
    source, target, _, limit, _ = y
    heads, slope = x[5], x[7]
    for at in range(0, heads, LANES):
        _largest((source, heads, at, col, first, last - first, limit, target, row, slope, state))


@inner
def powers(y: Any, x: Any, col: Any, row: int, first: int, last: int, state: Any, p: Any) -> None:
    """exp(logit - largest) of each edge and head into p [edges, padded heads], and added to the sums of state."""
    source, target, _, limit, _ = y
    heads, slope, padded = x[5], x[7], padded_heads(x[5])
    for at in range(0, heads, LANES):
        _powers((source, heads, at, col, first, last - first, limit, target, row, slope, state, padded, p))


@inner
def scale_powers(x: Any, col: Any, first: int, last: int, p: Any, state: Any) -> None:
    """Multiplies the powers of each edge by the scale of its source's row, and sums them times its lowest number."""
    heads, numbers, kind = x[5], x[8], x[9]
    padded = padded_heads(heads)
    for edge in range(first, last):
        scale, lowest = row_values(numbers, kind, col[edge], 1.0)
        for head in range(heads):
            place = (edge - first) * padded + head
            state[2 * padded + head] += p[place] * np.float32(lowest)
            p[place] = p[place] * np.float32(scale)


@inner
def add_lowest(acc: Any, state: Any, y: Any, heads: int) -> None:
    """Adds what code 0 of the sources stands for, weighted, to the sums of codes."""
    _, _, places, _, total = y
    first = 2 * padded_heads(heads)
    for c in range(total):
        acc[c] += state[first + places[c]]


@inner
def add_weighted(y: Any, x: Any, col: Any, first: int, last: int, p: Any, acc: Any) -> None:
    """Adds the rows of codes col[first..last], less the zero point and times the powers, to acc."""
    codes, width, _, packed, zero_point, heads, _, _, _, _ = x
    _, _, places, limit, _ = y
    padded = padded_heads(heads)
    high, offset = padded_places(width), 0
    while offset < width:
        left = width - offset
        args = (codes, width, offset, zero_point, col, first, last - first, limit, p, padded, places, acc, high)
        if not HAS_AVX512F or padded > LANES:
            size = 32
            if packed:
                _nibbles_any(args)
            else:
                _bytes_any(args)
        elif packed:
            size = 32 if left <= 32 else 64
            if left <= 32:
                _nibbles_32(args)
            else:
                _nibbles_64(args)
        else:
            size = 64 if left <= 64 else 128
            if left <= 64:
                _bytes_64(args)
            else:
                _bytes_128(args)
        offset += size


@inner
def divide(acc: Any, state: Any, y: Any, heads: int) -> None:
    """Divides the weighted sums by the sums of powers."""
    _, _, places, _, total = y
    padded = padded_heads(heads)
    if not HAS_AVX512F or padded > LANES:
        _scale_any((acc, total, state, padded, places))
    else:
        _scale((acc, total, state, padded, places))
