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


def centred(b: Builder, codes: Any, place: Any, shift: Any, mask: Any, zero_point: Any) -> Any:
    """LANES codes less their zero point as float64, from the low or the high nibbles, or from whole bytes."""
    shifts, masks, zeros = (b.splat(b.ir.trunc(value, I32), LANES) for value in (shift, mask, zero_point))
    words = b.ir.zext(b.load(codes, place, BYTE_LANES), WORDS)  # shifted as these: CPUs shift no single bytes
    return b.ir.sitofp(b.ir.sub(b.ir.and_(b.ir.lshr(words, shifts), masks), zeros), DOUBLES)


def _emit_steps(b: Builder) -> None:
    """The codes of `count` channels of rows row..row + rows. Arguments: see `finish.finish_rows`.

    The sums of a row lie `stride` behind those of the row before it, and its codes `code_stride`.
    """
    rows, stride, code_stride, acc, at, first, count, row, row_scale, has_scale, *rest = b.args
    multiplier, bias, gain, offset, low, high, *rest = rest
    (residual, beside, beside_stride), residual_how, (residual_step, *rest) = rest[:3], rest[3:6], rest[6:]
    (own, own_at, own_stride), own_how, (own_weight, *rest) = rest[:3], rest[3:6], rest[6:]
    codes, start, gained, zero_point, top = rest
    acc_kind = b.kinds[3].dtype
    zeros = b.splat(b.ir.fptosi(zero_point, I32), LANES)
    ceiling = b.splat(b.ir.fsub(top, zero_point), LANES)

    def holds(flag: Any) -> Any:
        return b.ir.icmp_signed("!=", flag, I64(0))

    def plus_own(v: Any, place: Any) -> Any:
        steps = centred(b, own, place, *own_how)
        return b.ir.fadd(v, b.ir.fmul(b.splat(own_weight, LANES), steps))

    def plus_residual(v: Any, place: Any) -> Any:
        steps = centred(b, residual, place, *residual_how)
        return b.ir.fadd(v, b.ir.fmul(steps, b.splat(residual_step, LANES)))

    def behind_relu(v: Any, channel: Any) -> Values:
        return [b.ir.fadd(b.ir.fmul(v, b.load(gain, channel, DOUBLES)), b.load(offset, channel, DOUBLES))]

    def after(v: Any, place: Any, channel: Any) -> Any:
        """What may follow factor and bias."""
        v = largest(b, v, b.splat(low, LANES))
        (v,) = b.when(holds(gained), [v], lambda values: behind_relu(values[0], channel))
        v = largest(b, v, b.splat(high, LANES))
        return b.when(has_residual, [v], lambda values: [plus_residual(values[0], place)])[0]

    def loop(kind: str) -> None:
        general = kind == "general"
        floors = b.splat(lowest if general else highest_floor if kind == "gain" else floor, LANES)

        def one_row(r: Any, _: Values) -> Values:
            sums, begin = b.ir.add(at, b.ir.mul(r, stride)), b.ir.add(start, b.ir.mul(r, code_stride))
            own_row = b.ir.add(own_at, b.ir.mul(r, own_stride))
            residual_row = b.ir.add(beside, b.ir.mul(r, beside_stride))
            (scale,) = b.when(has_rows, [F64(1.0)], lambda _: [b.load(row_scale, b.ir.add(row, r), F64)])

            def step(index: Any, _: Values) -> Values:
                place = b.ir.mul(index, I64(LANES))
                channel = b.ir.add(first, place)
                v = widen(b, acc, b.ir.add(sums, place), acc_kind)
                if general:
                    (v,) = b.when(has_own, [v], lambda values: [plus_own(values[0], b.ir.add(own_row, place))])
                elif kind == "own":
                    v = plus_own(v, b.ir.add(own_row, place))
                v = b.ir.fmul(v, b.splat(scale, LANES)) if general or kind == "rows" else v
                v = b.ir.fmul(v, b.load(multiplier, channel, DOUBLES))
                v = b.ir.fadd(v, b.load(bias, channel, DOUBLES))
                if general:
                    v = after(v, b.ir.add(residual_row, place), channel)
                elif kind == "gain":
                    (v,) = behind_relu(largest(b, v, b.splat(low, LANES)), channel)
                code = _rounded(b, smallest(b, v, ceiling))
                code = b.ir.select(b.ir.icmp_signed(">", code, floors), code, floors)
                code = b.ir.trunc(b.ir.add(code, zeros), BYTE_LANES)
                b.store_some(code, codes, b.ir.add(begin, place), b.ir.sub(count, place))
                return []

            return b.loop(b.ir.ashr(b.ir.add(count, I64(LANES - 1)), I64(4)), [], step)

        b.loop(rows, [], one_row)

    has_rows, has_residual, has_own = holds(has_scale), holds(residual_how[1]), holds(own_how[1])
    lowest = b.ir.sub(I32(0), b.ir.fptosi(zero_point, I32))
    low_relu, high_relu = (b.ir.fcmp_ordered("==", bound, F64(0.0)) for bound in (low, high))
    floor, highest_floor = (b.ir.select(on, I32(0), lowest) for on in (b.ir.or_(low_relu, high_relu), high_relu))
    # what there is: at most one thing more than factor and bias has a loop of its own, without branches
    more = {"rows": has_rows, "own": has_own, "gain": holds(gained)}
    number = b.ir.zext(has_residual, I64)
    number = b.ir.add(number, number)
    for there in more.values():
        number = b.ir.add(number, b.ir.zext(there, I64))
    one = b.ir.icmp_signed("==", number, I64(1))
    for kind, there in more.items():
        b.when(b.ir.and_(one, there), [], _body(loop, kind))
    b.when(b.ir.icmp_signed("==", number, I64(0)), [], _body(loop, "plain"))
    b.when(b.ir.icmp_signed(">", number, I64(1)), [], _body(loop, "general"))


def _body(loop: Callable[[str], None], kind: str) -> Callable[[Values], Values]:
    """A loop as what `Builder.when` takes."""

    def body(_: Values) -> Values:
        loop(kind)
        return []

    return body


finish_steps = make(_emit_steps)
