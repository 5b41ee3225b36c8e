"""The epilogue of a row of sums whose values are in steps of the grid (`Epilogue.folded`), LANES channels at a time.

Between a sum and its code lie a product, a sum and one conversion, which rounds half to even. The clamp is split: from
above in float64, so that no value is too large to convert, and from below in int32, where what was too small for it is
the smallest number. A ReLU that no residual follows only raises the lower bound.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types

from dqrun.kernels.integer.cpu.vectors import F32, F64, HAS_AVX512F, I8, I32, I64, LANES, Builder, Values, make

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
    if not HAS_AVX512F:
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


class _Steps:
    """The loops over rows and channels of `finish.finish_rows`, each for another choice of what there is to do.

    The sums of a row lie `stride` behind those of the row before it, and its codes `code_stride`.
    """

    def __init__(self, b: Builder) -> None:
        self.b, self.acc_kind = b, b.kinds[3].dtype
        self.rows, self.stride, self.code_stride, self.acc, self.at, self.first, self.count, *rest = b.args
        self.row, self.row_scale, has_scale, self.multiplier, self.bias, self.gain, self.offset, *rest = rest
        low, high, *rest = rest
        self.residual, self.beside, self.beside_stride, *rest = rest
        self.residual_how, (self.residual_step, *rest) = rest[:3], rest[3:]
        self.own, self.own_at, self.own_stride, *rest = rest
        self.own_how, (self.own_weight, self.codes, self.start, gained, zero_point, top) = rest[:3], rest[3:]
        self.has_rows, self.has_gain, self.has_residual, self.has_own = (
            b.ir.icmp_signed("!=", flag, I64(0)) for flag in (has_scale, gained, self.residual_how[1], self.own_how[1])
        )
        self.zeros = b.splat(b.ir.fptosi(zero_point, I32), LANES)
        self.ceiling = b.splat(b.ir.fsub(top, zero_point), LANES)
        self.low, self.high = b.splat(low, LANES), b.splat(high, LANES)
        self.lowest = b.ir.sub(I32(0), b.ir.fptosi(zero_point, I32))
        self.low_relu, self.high_relu = (b.ir.fcmp_ordered("==", bound, F64(0.0)) for bound in (low, high))

    def emit(self) -> None:
        """The loop that fits: if there is at most one thing beside factor and bias, one without branches."""
        b, more = self.b, {"rows": self.has_rows, "gain": self.has_gain, "own": self.has_own}
        number = b.ir.mul(b.ir.zext(self.has_residual, I64), I64(2))
        for there in more.values():
            number = b.ir.add(number, b.ir.zext(there, I64))
        one = b.ir.icmp_signed("==", number, I64(1))
        for kind, there in more.items():
            self._when(b.ir.and_(one, there), kind)
        self._when(b.ir.icmp_signed("==", number, I64(0)), "plain")
        self._when(b.ir.icmp_signed(">", number, I64(1)), "all")

    def _when(self, condition: Any, kind: str) -> None:
        def body(_: Values) -> Values:
            self._loop(kind)
            return []

        self.b.when(condition, [], body)

    def _loop(self, kind: str) -> None:
        b, floors = self.b, self.b.splat(self._floor(kind), LANES)

        def one_row(r: Any, _: Values) -> Values:
            places = (self.at, self.stride), (self.start, self.code_stride), (self.own_at, self.own_stride)
            sums, begin, own, beside = (
                b.ir.add(start, b.ir.mul(r, step)) for start, step in (*places, (self.beside, self.beside_stride))
            )
            one = [F64(1.0)]
            (scale,) = b.when(self.has_rows, one, lambda _: [b.load(self.row_scale, b.ir.add(self.row, r), F64)])

            def step(index: Any, _: Values) -> Values:
                place = b.ir.mul(index, I64(LANES))
                v = widen(b, self.acc, b.ir.add(sums, place), self.acc_kind)
                v = self._value(kind, v, scale, place, b.ir.add(own, place), b.ir.add(beside, place))
                code = _rounded(b, smallest(b, v, self.ceiling))
                code = b.ir.select(b.ir.icmp_signed(">", code, floors), code, floors)
                code = b.ir.trunc(b.ir.add(code, self.zeros), BYTE_LANES)
                b.store_some(code, self.codes, b.ir.add(begin, place), b.ir.sub(self.count, place))
                return []

            return b.loop(b.ir.ashr(b.ir.add(self.count, I64(LANES - 1)), I64(4)), [], step)

        b.loop(self.rows, [], one_row)

    def _floor(self, kind: str) -> Any:
        """The smallest code less the zero point; a ReLU that nothing follows raises it to 0."""
        if kind == "all":  # there it is done before a residual
            return self.lowest
        relu = self.high_relu if kind == "gain" else self.b.ir.or_(self.low_relu, self.high_relu)
        return self.b.ir.select(relu, I32(0), self.lowest)

    def _value(self, kind: str, v: Any, scale: Any, place: Any, own: Any, beside: Any) -> Any:
        """In steps of the grid, from a sum: the lines of `Epilogue`."""
        b, channel = self.b, self.b.ir.add(self.first, place)
        if kind == "own":
            v = self._plus_own(v, own)
        elif kind == "all":
            (v,) = b.when(self.has_own, [v], lambda values: [self._plus_own(values[0], own)])
        if kind in ("rows", "all"):
            v = b.ir.fmul(v, b.splat(scale, LANES))
        v = b.ir.fmul(v, b.load(self.multiplier, channel, DOUBLES))
        v = b.ir.fadd(v, b.load(self.bias, channel, DOUBLES))
        if kind == "gain":
            return self._behind_relu(largest(b, v, self.low), channel)
        if kind == "all":
            v = largest(b, v, self.low)
            (v,) = b.when(self.has_gain, [v], lambda values: [self._behind_relu(values[0], channel)])
            v = largest(b, v, self.high)
            (v,) = b.when(self.has_residual, [v], lambda values: [self._plus_residual(values[0], beside)])
        return v

    def _plus_own(self, v: Any, place: Any) -> Any:
        steps = centred(self.b, self.own, place, *self.own_how)
        return self.b.ir.fadd(v, self.b.ir.fmul(self.b.splat(self.own_weight, LANES), steps))

    def _behind_relu(self, v: Any, channel: Any) -> Any:
        v = self.b.ir.fmul(v, self.b.load(self.gain, channel, DOUBLES))
        return self.b.ir.fadd(v, self.b.load(self.offset, channel, DOUBLES))

    def _plus_residual(self, v: Any, place: Any) -> Any:
        steps = centred(self.b, self.residual, place, *self.residual_how)
        return self.b.ir.fadd(v, self.b.ir.fmul(steps, self.b.splat(self.residual_step, LANES)))


def _emit_steps(b: Builder) -> None:
    """The codes of `count` channels of rows row..row + rows. Arguments: see `finish.finish_rows`."""
    _Steps(b).emit()


finish_steps = make(_emit_steps)
