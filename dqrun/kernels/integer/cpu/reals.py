"""The epilogue of a row of sums in real numbers: where float32 comes out, or an ELU stands before the grid."""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from dqrun.kernels.integer.cpu.steps import BYTE_LANES, DOUBLES, WORDS, centred, constant, largest, smallest, widen
from dqrun.kernels.integer.cpu.vectors import F32, F64, I64, LANES, Builder, Values, make
from dqrun.kernels.integer.reference import EXP_TERMS, LN2_HIGH, LN2_LOW, LOG2_E, LOWEST_EXPONENT

LONGS = ir.VectorType(I64, LANES)


def _rint(b: Builder, v: Any) -> Any:
    return b.call(f"llvm.rint.v{LANES}f64", DOUBLES, [v])


def _elu(b: Builder, v: Any) -> Any:
    """`reference.exp` where v is negative, less 1."""
    below = largest(b, smallest(b, v, constant(0.0)), constant(LOWEST_EXPONENT))
    n = _rint(b, b.ir.fmul(below, constant(LOG2_E)))
    r = b.ir.fsub(below, b.ir.fmul(n, constant(LN2_HIGH)))
    r = b.ir.fsub(r, b.ir.fmul(n, constant(LN2_LOW)))
    p = constant(EXP_TERMS[0])
    for term in EXP_TERMS[1:]:
        p = b.ir.fadd(b.ir.fmul(p, r), constant(term))
    exponent = b.ir.add(b.ir.fptosi(n, LONGS), ir.Constant(LONGS, [1023] * LANES))
    power = b.ir.bitcast(b.ir.shl(exponent, ir.Constant(LONGS, [52] * LANES)), DOUBLES)
    negative = b.ir.fsub(b.ir.fmul(p, power), constant(1.0))
    return b.ir.select(b.ir.fcmp_ordered(">", v, constant(0.0)), v, negative)


def _emit_finish(b: Builder) -> None:
    """The results of `count` channels of a row. Arguments: see `finish.finish_rows`."""
    acc, at, first, count, row, row_scale, has_scale, row_term, channel_term, has_term, *rest = b.args
    multiplier, bias, gain, offset, low, high, gained, elu, *rest = rest
    (residual, beside), residual_how, (residual_scale, residual_low, *rest) = rest[:2], rest[2:5], rest[5:]
    (own, own_at), own_how, (own_weight, own_scale, own_low, *rest) = rest[:2], rest[2:5], rest[5:]
    reals, codes, start, coded, *quantizer = rest
    inverse, zero_point, top = (b.splat(value, LANES) for value in quantizer)
    acc_kind = b.kinds[0].dtype

    def holds(flag: Any) -> Any:
        return b.ir.icmp_signed("!=", flag, I64(0))

    (scale,) = b.when(holds(has_scale), [F64(1.0)], lambda _: [b.load(row_scale, row, F64)])
    (term,) = b.when(holds(has_term), [F64(0.0)], lambda _: [b.load(row_term, row, F64)])

    def real(codes: Any, place: Any, how: Any, scale: Any, low: Any) -> Any:
        steps = centred(b, codes, place, *how)
        return b.ir.fadd(b.ir.fmul(steps, b.splat(scale, LANES)), b.splat(low, LANES))

    def plus_own(v: Any, place: Any) -> Values:
        value = real(own, b.ir.add(own_at, place), own_how, own_scale, own_low)
        return [b.ir.fadd(v, b.ir.fmul(b.splat(own_weight, LANES), value))]

    def plus_term(v: Any, channel: Any) -> Values:
        return [b.ir.fadd(v, b.ir.fmul(b.splat(term, LANES), b.load(channel_term, channel, DOUBLES)))]

    def scaled(v: Any, channel: Any) -> Values:
        return [b.ir.fadd(b.ir.fmul(v, b.load(gain, channel, DOUBLES)), b.load(offset, channel, DOUBLES))]

    def plus_residual(v: Any, place: Any) -> Values:
        return [b.ir.fadd(v, real(residual, b.ir.add(beside, place), residual_how, residual_scale, residual_low))]

    def encode(v: Any, place: Any, left: Any) -> Values:
        code = b.ir.fadd(_rint(b, b.ir.fmul(v, inverse)), zero_point)
        code = smallest(b, largest(b, code, constant(0.0)), top)
        code = b.ir.trunc(b.ir.fptosi(code, WORDS), BYTE_LANES)
        b.store_some(code, codes, b.ir.add(start, place), left)
        return []

    def store(v: Any, place: Any, left: Any) -> Values:
        v = b.ir.fptrunc(v, ir.VectorType(F32, LANES))
        b.store_some(v, reals, b.ir.add(start, place), left)
        return []

    def step(index: Any, _: Values) -> Values:
        place = b.ir.mul(index, I64(LANES))
        channel, left = b.ir.add(first, place), b.ir.sub(count, place)
        v = widen(b, acc, b.ir.add(at, place), acc_kind)
        (v,) = b.when(holds(own_how[1]), [v], lambda values: plus_own(values[0], place))
        v = b.ir.fmul(v, b.splat(scale, LANES))
        (v,) = b.when(holds(has_term), [v], lambda values: plus_term(values[0], channel))
        v = b.ir.fmul(v, b.load(multiplier, channel, DOUBLES))
        v = largest(b, b.ir.fadd(v, b.load(bias, channel, DOUBLES)), b.splat(low, LANES))
        (v,) = b.when(holds(gained), [v], lambda values: scaled(values[0], channel))
        v = largest(b, v, b.splat(high, LANES))
        (v,) = b.when(holds(elu), [v], lambda values: [_elu(b, values[0])])
        (v,) = b.when(holds(residual_how[1]), [v], lambda values: plus_residual(values[0], place))
        b.when(holds(coded), [], lambda _: encode(v, place, left))
        b.when(b.ir.not_(holds(coded)), [], lambda _: store(v, place, left))
        return []

    b.loop(b.ir.ashr(b.ir.add(count, I64(LANES - 1)), I64(4)), [], step)


finish_reals = make(_emit_finish)
