"""The epilogue of rows that get grids of their own, in the cases that most networks have: real numbers, as float32.

What `reals` does for a row, without a branch for each vector of channels: a factor and a term of each row, a row's own
codes, factor and bias of each channel, and a ReLU.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from dqrun.kernels.integer.cpu.row_codes import REAL
from dqrun.kernels.integer.cpu.steps import DOUBLES, centred, largest, widen
from dqrun.kernels.integer.cpu.vectors import F32, F64, I64, LANES, Builder, Values, make


class _Rows:
    """The loops over rows and channels, each for another choice of what there is to do."""

    def __init__(self, b: Builder) -> None:
        self.b, self.acc_kind = b, b.kinds[2].dtype
        self.rows, self.stride, self.acc, self.at, self.first, self.count, self.row, *rest = b.args
        self.row_scale, has_scale, self.row_term, self.channel_term, has_term, *rest = rest
        self.multiplier, self.bias, low, high, self.own, self.own_at, self.own_stride, *rest = rest
        self.own_how, (self.own_weight, self.numbers, kind, self.reals) = rest[:3], rest[3:]
        self.floor = b.splat(b.ir.select(b.ir.fcmp_ordered(">", low, high), low, high), LANES)
        self.has_scale, self.has_term, self.has_own = (
            b.ir.icmp_signed("!=", flag, I64(0)) for flag in (has_scale, has_term, self.own_how[1])
        )
        self.real = b.ir.icmp_signed("==", kind, I64(REAL))
        self.by_rows = b.ir.icmp_signed(">=", kind, I64(0))

    def emit(self) -> None:
        b = self.b
        neither = b.ir.not_(b.ir.or_(self.has_term, self.has_own))
        self._when(b.ir.and_(neither, b.ir.not_(self.has_scale)), "plain")
        self._when(b.ir.and_(neither, self.has_scale), "scale")
        self._when(self.has_term, "term")
        self._when(self.has_own, "own")

    def _when(self, condition: Any, kind: str) -> None:
        def body(_: Values) -> Values:
            return self.b.loop(self.rows, [], lambda r, _: self._one_row(kind, r))

        self.b.when(condition, [], body)

    def _one_row(self, kind: str, r: Any) -> Values:
        b, row = self.b, self.b.ir.add(self.row, r)
        sums, own = b.ir.add(self.at, b.ir.mul(r, self.stride)), b.ir.add(self.own_at, b.ir.mul(r, self.own_stride))
        begin = b.ir.add(self.first, b.ir.mul(r, self.stride))
        scale = b.load(self.row_scale, row, F64) if kind in ("scale", "term") else F64(1.0)
        term = b.load(self.row_term, row, F64) if kind == "term" else F64(0.0)
        steps = self._own_numbers(row) if kind == "own" else []

        def step(index: Any, _: Values) -> Values:
            place = b.ir.mul(index, I64(LANES))
            channel = b.ir.add(self.first, place)
            v = widen(b, self.acc, b.ir.add(sums, place), self.acc_kind)
            if kind == "own":
                value = centred(b, self.own, b.ir.add(own, place), *self.own_how)
                value = b.ir.fadd(b.ir.fmul(value, b.splat(steps[0], LANES)), b.splat(steps[1], LANES))
                v = b.ir.fadd(v, b.ir.fmul(b.splat(self.own_weight, LANES), value))
            if kind in ("scale", "term"):
                v = b.ir.fmul(v, b.splat(scale, LANES))
            if kind == "term":
                v = b.ir.fadd(v, b.ir.fmul(b.splat(term, LANES), b.load(self.channel_term, channel, DOUBLES)))
            v = b.ir.fmul(v, b.load(self.multiplier, channel, DOUBLES))
            v = largest(b, b.ir.fadd(v, b.load(self.bias, channel, DOUBLES)), self.floor)
            b.store(b.ir.fptrunc(v, ir.VectorType(F32, LANES)), self.reals, b.ir.add(begin, place))
            return []

        return b.loop(b.ir.ashr(b.ir.add(self.count, I64(LANES - 1)), I64(4)), [], step)

    def _own_numbers(self, row: Any) -> Values:
        """What a step of the row's own codes is worth, and what code 0 stands for: 1 and 0 without numbers of rows."""
        b = self.b

        def found(_: Values) -> Values:
            place = b.ir.mul(row, I64(2))
            scale, offset = (b.ir.fpext(b.load(self.numbers, b.ir.add(place, I64(i)), F32), F64) for i in range(2))
            return [scale, b.ir.select(self.real, offset, b.ir.fmul(scale, offset))]

        return b.when(self.by_rows, [F64(1.0), F64(0.0)], found)


def _emit(b: Builder) -> None:
    """reals[r, first..first + count] of rows r, rounded up to LANES. Arguments: see `finish.finish_rows`."""
    _Rows(b).emit()


finish_row_values = make(_emit)
