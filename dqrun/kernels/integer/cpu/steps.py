"""The epilogue of a row of sums whose values are in steps of the grid (`Epilogue.folded`), LANES channels at a time.

Between a sum and its code lie a product, a sum and one conversion, which rounds half to even. The clamp is split: from
above in float64, so that no value is too large to convert, and from below in int32, where what was too small for it is
the smallest number. A ReLU that no residual follows only raises the lower bound.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import types

from dqrun.kernels.integer.cpu.vectors import F32, F64, HAS_PERMUTE, I8, I32, I64, LANES, Builder, Values, make

DOUBLES, WORDS, BYTE_LANES = (ir.VectorType(kind, LANES) for kind in (F64, I32, I8))
CONVERT = "llvm.x86.avx512.mask.cvtpd2dq.512"
AS_SET = 4  # round as the CPU is set, which is half to even
LOWEST = -(2.0**31)


def widen(b: Builder, acc: Any, place: Any, kind: Any) -> Any:
    """LANES sums (int32, float32 or float64) as float64: exact."""
    if kind == types.int32:
        return b.ir.sitofp(b.load(acc, place, WORDS), DOUBLES)
    if kind == types.float32:
        return b.ir.fpext(b.load(acc, place, ir.VectorType(F32, LANES)), DOUBLES)
    return b.load(acc, place, DOUBLES)


def constant(value: float) -> Any:
    return ir.Constant(DOUBLES, [value] * LANES)


def largest(b: Builder, v: Any, bound: Any) -> Any:
    return b.ir.select(b.ir.fcmp_ordered(">", v, bound), v, bound)


def smallest(b: Builder, v: Any, bound: Any) -> Any:
    return b.ir.select(b.ir.fcmp_ordered("<", v, bound), v, bound)


def _part(b: Builder, v: Any, lanes: range) -> Any:
    places = ir.Constant(ir.VectorType(I32, len(lanes)), list(lanes))
    return b.ir.shuffle_vector(v, ir.Constant(v.type, ir.Undefined), places)


def _rounded(b: Builder, v: Any) -> Any:
    """float64 below 2^31 - 1 to int32, half to even; what is below -2^31 gives -2^31."""
    if not HAS_PERMUTE:
        whole = b.call(f"llvm.rint.v{LANES}f64", DOUBLES, [largest(b, v, constant(LOWEST))])
        return b.ir.fptosi(whole, WORDS)
    half = LANES // 2
    eight = ir.VectorType(I32, half)
    none = ir.Constant(eight, [0] * half)
    low, high = (
        b.call(CONVERT, eight, [_part(b, v, lanes), none, I8(-1), I32(AS_SET)])
        for lanes in (range(half), range(half, LANES))
    )
    return b.ir.shuffle_vector(low, high, ir.Constant(ir.VectorType(I32, LANES), list(range(LANES))))


def _emit_steps(b: Builder) -> None:
    """The codes of `count` channels of rows row..row + rows. Arguments: see `finish.finish_values`.

    The sums of a row lie `stride` behind those of the row before it, and its codes `code_stride`.
    """
    rows, stride, code_stride, acc, at, first, count, row, row_scale, has_scale, *rest = b.args
    multiplier, bias, gain, offset, low, high, *rest = rest
    residual, beside, shift, mask, residual_zero, residual_step, *rest = rest
    codes, start, gained, zero_point, top = rest
    acc_kind = b.kinds[3].dtype
    zeros = b.splat(b.ir.fptosi(zero_point, I32), LANES)
    ceiling = b.splat(b.ir.fsub(top, zero_point), LANES)

    def holds(flag: Any) -> Any:
        return b.ir.icmp_signed("!=", flag, I64(0))

    def behind_relu(v: Any, channel: Any) -> Values:
        return [b.ir.fadd(b.ir.fmul(v, b.load(gain, channel, DOUBLES)), b.load(offset, channel, DOUBLES))]

    def with_residual(v: Any, place: Any) -> Values:
        bytes_ = b.load(residual, b.ir.add(beside, place), BYTE_LANES)
        bytes_ = b.ir.lshr(bytes_, b.splat(b.ir.trunc(shift, I8), LANES))
        bytes_ = b.ir.and_(bytes_, b.splat(b.ir.trunc(mask, I8), LANES))
        steps = b.ir.fsub(b.ir.uitofp(bytes_, DOUBLES), b.splat(residual_zero, LANES))
        return [b.ir.fadd(v, b.ir.fmul(steps, b.splat(residual_step, LANES)))]

    def whole(v: Any, place: Any, channel: Any) -> Any:
        v = largest(b, v, b.splat(low, LANES))
        (v,) = b.when(holds(gained), [v], lambda values: behind_relu(values[0], channel))
        v = largest(b, v, b.splat(high, LANES))
        return b.when(holds(mask), [v], lambda values: with_residual(values[0], place))[0]

    def loop(scaled: bool, floor: Any, rest: Callable[[Any, Any, Any], Any] | None = None) -> Values:
        floors = b.splat(floor, LANES)

        def one_row(r: Any, _: Values) -> Values:
            sums, begin = b.ir.add(at, b.ir.mul(r, stride)), b.ir.add(start, b.ir.mul(r, code_stride))
            one = [F64(1.0)]
            scale = b.when(has_rows, one, lambda _: [b.load(row_scale, b.ir.add(row, r), F64)])[0] if scaled else None

            def step(index: Any, _: Values) -> Values:
                place = b.ir.mul(index, I64(LANES))
                channel = b.ir.add(first, place)
                v = widen(b, acc, b.ir.add(sums, place), acc_kind)
                v = v if scale is None else b.ir.fmul(v, b.splat(scale, LANES))
                v = b.ir.fmul(v, b.load(multiplier, channel, DOUBLES))
                v = b.ir.fadd(v, b.load(bias, channel, DOUBLES))
                v = v if rest is None else rest(v, place, channel)
                code = _rounded(b, smallest(b, v, ceiling))
                code = b.ir.select(b.ir.icmp_signed(">", code, floors), code, floors)
                code = b.ir.trunc(b.ir.add(code, zeros), BYTE_LANES)
                b.store_some(code, codes, b.ir.add(begin, place), b.ir.sub(count, place))
                return []

            return b.loop(b.ir.ashr(b.ir.add(count, I64(LANES - 1)), I64(4)), [], step)

        return b.loop(rows, [], one_row)

    lowest = b.ir.sub(I32(0), b.ir.fptosi(zero_point, I32))
    relu = b.ir.or_(b.ir.fcmp_ordered("==", low, F64(0.0)), b.ir.fcmp_ordered("==", high, F64(0.0)))
    floor = b.ir.select(relu, I32(0), lowest)
    simple, has_rows = b.ir.not_(b.ir.or_(holds(gained), holds(mask))), holds(has_scale)
    b.when(b.ir.and_(simple, b.ir.not_(has_rows)), [], lambda _: loop(False, floor))
    b.when(b.ir.and_(simple, has_rows), [], lambda _: loop(True, floor))
    b.when(b.ir.not_(simple), [], lambda _: loop(True, lowest, whole))


finish_steps = make(_emit_steps)
