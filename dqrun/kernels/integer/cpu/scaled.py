"""Sums of gathered rows that have their own grids: codes times the scale of their row, in float64."""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from dqrun.kernels.integer.cpu.builder import F32, F64, I8, I32, I64, Builder, Values, zeros
from dqrun.kernels.integer.cpu.rows_of_codes import LANES, REAL_OFFSET

MOST_VECTORS = 8  # of sums; each takes two registers of 8 float64


def emit_scaled_sums(b: Builder, num_bytes: int, planes: int) -> None:
    """acc[r, c] = the sum over row r's edges of scale * code, plus that of their rows' lowest numbers, c < num_bytes.

    Both sums are computed in the order of edges. A product of a float32 scale and a code is exact. Arguments and places
    are those of `rows._emit_sums`.
    """
    size = num_bytes
    while size > LANES and size // LANES * planes > MOST_VECTORS:
        size //= 2
    for begin in reversed(range(0, num_bytes, size)):
        _Block(b, size, planes, begin).emit()


class _Block:
    """The loop over rows and their edges for `size` bytes of each, from the offset `begin` on."""

    def __init__(self, b: Builder, size: int, planes: int, begin: int) -> None:
        self.b, self.size, self.planes = b, size, planes
        self.x, self.stride, offset, self.col, self.limit, self.bounds, self.first, self.rows, *rest = b.args
        _, self.acc, self.acc_stride, self.numbers, kind = rest
        self.offset = b.ir.add(offset, I64(begin))
        self.real = b.ir.icmp_signed("==", kind, I64(REAL_OFFSET))

    def emit(self) -> None:
        self.b.loop(self.rows, [], self._one_row)

    def _one_row(self, r: Any, _: Values) -> Values:
        b, place = self.b, self.b.ir.add(self.first, r)
        start, stop = b.load(self.bounds, place, I64), b.load(self.bounds, b.ir.add(place, I64(1)), I64)
        vectors = self.size // LANES
        begun = [zeros(F64, LANES)] * (vectors * self.planes)
        lowest, *sums = b.loop(
            b.ir.sub(stop, start), [F64(0.0), *begun], lambda i, olds: self._add_edge(b.ir.add(start, i), olds)
        )
        at = b.ir.add(self.offset, b.ir.mul(r, self.acc_stride))
        for i, value in enumerate(sums):
            plane = b.ir.mul(self.stride, I64(i // vectors))
            where = b.ir.add(b.ir.add(at, I64(LANES * (i % vectors))), plane)
            b.store(b.ir.fadd(value, b.splat(lowest, LANES)), self.acc, where)
        return []

    def _add_edge(self, edge: Any, olds: Values) -> Values:
        b = self.b
        b.request(self.col, edge, self.limit, self.stride, self.offset, self.x, self.size)
        b.request(self.col, edge, self.limit, I64(8), I64(0), b.ir.bitcast(self.numbers, self.x.type), 1)
        node = b.ir.mul(b.source(self.col, edge), I64(2))
        scale, offset = (b.ir.fpext(b.load(self.numbers, b.ir.add(node, I64(i)), F32), F64) for i in range(2))
        lowest = b.ir.select(self.real, offset, b.ir.fmul(scale, offset))
        scales, row = b.splat(scale, LANES), b.row(self.col, edge, self.stride, self.offset)
        sums = [
            b.ir.fadd(old, b.ir.fmul(v, scales, flags=("contract",)), flags=("contract",))
            for old, v in zip(olds[1:], self._codes(row), strict=True)
        ]
        return [b.ir.fadd(olds[0], lowest), *sums]

    def _codes(self, row: Any) -> Values:
        """The codes of a row as float64, LANES in each vector, plane by plane."""
        b, lanes, words = self.b, ir.VectorType(I8, LANES), ir.VectorType(I32, LANES)
        read = [b.load(self.x, b.ir.add(row, I64(LANES * v)), lanes) for v in range(self.size // LANES)]
        if self.planes > 1:
            apart = [b.planes(v, self.planes) for v in read]
            read = [v for plane in zip(*apart, strict=True) for v in plane]
        return [b.ir.sitofp(b.ir.zext(v, words), ir.VectorType(F64, LANES)) for v in read]
