"""Sums of gathered rows: the inner loop of `aggregate`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import types

from dqrun.kernels.cpu.launch import inner
from dqrun.kernels.integer.cpu.builder import I8, I16, I32, I64, LINE, Builder, Values, make, zeros
from dqrun.kernels.integer.cpu.scaled import emit_scaled_sums

BLOCKS = (16, 32, 64, 128)  # bytes of a row that are summed together
MOST = {1: 257, 2: 17, 4: 85, 8: 255}  # by planes: number of codes whose sum fits 16 bits (1 plane) or 8 bits (more)


def _emit_sums(b: Builder, num_bytes: int, planes: int) -> None:
    """acc[r, c] = the sum over row r's edges of (the codes of channel c - zero point).

    The channels are those of the bytes from `offset` on, num_bytes of them, `planes` codes in each; sums of the next
    planes lie the bytes of a row behind. Codes are added in 16 bits, those that share a byte in 8, as many as fit,
    then in 32. Row r has the edges bounds[first + r]..bounds[first + r + 1]. Arguments: x, bytes of a row, offset, col,
    number of edges in all, bounds, first, rows, zero point, acc, places between rows' sums, numbers of rows, their kind
    of offset. Float64 sums are those of `emit_scaled_sums`.
    """
    x, stride, offset, col, limit, bounds, first, rows, zero_point, acc, acc_stride, _, _ = b.args
    if b.kinds[9].dtype == types.float64:
        return emit_scaled_sums(b, num_bytes, planes)
    codes = ir.VectorType(I8, num_bytes)
    beside = max(LINE // num_bytes, 1) if planes == 8 else 1  # planes that are summed in one vector
    lanes, most = num_bytes * beside, I64(MOST[planes])
    narrow, sums = ir.VectorType(I16 if planes == 1 else I8, lanes), ir.VectorType(I32, lanes)

    def add_edge(edge: Any, olds: Values) -> Values:
        b.request(col, edge, limit, stride, offset, x, num_bytes)
        row = b.load(x, b.row(col, edge, stride, offset), codes)
        if planes == 8:
            terms = b.bits(row, beside)
        else:
            terms = [b.ir.zext(row, narrow)] if planes == 1 else b.planes(row, planes)
        return [b.ir.add(old, term) for old, term in zip(olds, terms, strict=True)]

    def one_row(r: Any, _: Values) -> Values:
        place = b.ir.add(first, r)
        start, stop = b.load(bounds, place, I64), b.load(bounds, b.ir.add(place, I64(1)), I64)
        count = b.ir.sub(stop, start)
        begin = b.splat(b.ir.trunc(b.ir.neg(b.ir.mul(count, zero_point)), I32), lanes)

        def add_some(index: Any, olds: Values) -> Values:
            done = b.ir.mul(index, most)
            left = b.ir.sub(count, done)
            size, edge = b.ir.select(b.ir.icmp_signed("<", left, most), left, most), b.ir.add(start, done)
            news = b.loop(
                size, [zeros(narrow.element, lanes)] * (planes // beside), lambda i, v: add_edge(b.ir.add(edge, i), v)
            )
            return [b.ir.add(old, b.ir.zext(new, sums)) for old, new in zip(olds, news, strict=True)]

        pieces = b.ir.udiv(b.ir.add(count, b.ir.sub(most, I64(1))), most)
        at = b.ir.add(offset, b.ir.mul(r, acc_stride))
        for value in b.loop(pieces, [begin] * (planes // beside), add_some):
            for first_lane in range(0, lanes, num_bytes):
                b.store(b.lanes(value, range(first_lane, first_lane + num_bytes)), acc, at)
                at = b.ir.add(at, stride)
        return []

    b.loop(rows, [], one_row)


_SUMS = {planes: [make(_emit_sums, size, planes) for size in BLOCKS] for planes in MOST}


def padded_bytes(width: int) -> int:
    """Bytes of a row rounded up to whole blocks."""
    left = width % BLOCKS[-1]
    return width - left + (min(size for size in BLOCKS if size >= left) if left else 0)


def sum_codes(planes: int) -> Callable[..., None]:
    """The function that sums rows of codes, `planes` in a byte."""
    sum_16, sum_32, sum_64, sum_128 = _SUMS[planes]

    @inner
    def sum_rows(a: Any, bounds: Any, first: int, rows: int, acc: Any) -> None:
        """Sums over edges of codes less their zero point, int32 [rows, stride], for rows first..first + rows.

        Float64 [rows, stride]: sums of what codes of rows with grids of their own stand for. bounds: where the edges of
        each row begin, and end. Stride is the epilogue's. Reads up to 64 bytes behind a row. What a block leaves behind
        the bytes of a row is overwritten by the next plane: the last block comes first.
        """
        x = a.x
        offset = (x.width - 1) // BLOCKS[-1] * BLOCKS[-1]
        while offset >= 0:
            left, edges = x.width - offset, (a.col, a.num_edges, bounds, first, rows)
            args = (x.data, x.width, offset, *edges, x.zero_point, acc, a.epilogue.stride, x.numbers, x.kind)
            if left > 64:
                sum_128(args)
            elif left > 32:
                sum_64(args)
            elif left > 16:
                sum_32(args)
            else:
                sum_16(args)
            offset -= BLOCKS[-1]

    return sum_rows
