"""Sums of gathered rows: the inner loop of `aggregate`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import types

from dqrun.kernels.cpu.launch import inner
from dqrun.kernels.integer.cpu.builder import I8, I16, I32, I64, Builder, Values, make, zeros
from dqrun.kernels.integer.cpu.scaled import emit_scaled_sums

BLOCKS = (32, 64, 128)  # bytes of a row that are summed together
MOST_BYTES = 257  # codes of 8 bits of which the sum fits 16 bits
MOST_NIBBLES = 17  # codes of 4 bits of which the sum fits 8 bits


def _emit_sums(b: Builder, num_bytes: int, packed: bool) -> None:
    """acc[r, c] = the sum over row r's edges of (the codes of the bytes offset + c - zero point), c < num_bytes.

    Packed codes: the sums of the low nibbles go to acc, those of the high ones `high` places behind. Codes are added in
    16 bits (nibbles in 8) as many as fit, then in 32. Row r has the edges bounds[first + r]..bounds[first + r + 1].
    Arguments: x, bytes of a row, offset, col, number of edges in all, bounds, first, rows, zero point, acc, places
    between rows' sums, high, numbers of rows, their kind of offset. Float64 sums are those of `emit_scaled_sums`.
    """
    x, stride, offset, col, limit, bounds, first, rows, zero_point, acc, acc_stride, high, _, _ = b.args
    if b.kinds[9].dtype == types.float64:
        return emit_scaled_sums(b, num_bytes, packed)
    codes, sums = ir.VectorType(I8, num_bytes), ir.VectorType(I32, num_bytes)
    narrow = ir.VectorType(I8 if packed else I16, num_bytes)
    most = I64(MOST_NIBBLES if packed else MOST_BYTES)
    low_mask, four = (ir.Constant(codes, [value] * num_bytes) for value in (15, 4))
    halves = 2 if packed else 1

    def add_edge(edge: Any, olds: Values) -> Values:
        b.request(col, edge, limit, stride, offset, x, num_bytes)
        row = b.load(x, b.row(col, edge, stride, offset), codes)
        terms = [b.ir.and_(row, low_mask), b.ir.lshr(row, four)] if packed else [b.ir.zext(row, narrow)]
        return [b.ir.add(old, term) for old, term in zip(olds, terms, strict=True)]

    def one_row(r: Any, _: Values) -> Values:
        place = b.ir.add(first, r)
        start, stop = b.load(bounds, place, I64), b.load(bounds, b.ir.add(place, I64(1)), I64)
        count = b.ir.sub(stop, start)
        begin = b.splat(b.ir.trunc(b.ir.neg(b.ir.mul(count, zero_point)), I32), num_bytes)

        def add_some(index: Any, olds: Values) -> Values:
            done = b.ir.mul(index, most)
            left = b.ir.sub(count, done)
            size, edge = b.ir.select(b.ir.icmp_signed("<", left, most), left, most), b.ir.add(start, done)
            news = b.loop(
                size, [zeros(narrow.element, num_bytes)] * halves, lambda i, v: add_edge(b.ir.add(edge, i), v)
            )
            return [b.ir.add(old, b.ir.zext(new, sums)) for old, new in zip(olds, news, strict=True)]

        pieces = b.ir.udiv(b.ir.add(count, b.ir.sub(most, I64(1))), most)
        at = b.ir.add(offset, b.ir.mul(r, acc_stride))
        for half, value in enumerate(b.loop(pieces, [begin] * halves, add_some)):
            b.store(value, acc, b.ir.add(at, high) if half else at)
        return []

    b.loop(rows, [], one_row)


_BYTES, _NIBBLES = ([make(_emit_sums, size, packed) for size in BLOCKS] for packed in (False, True))


@inner
def _block_bytes(width: int, offset: int) -> int:
    """How many bytes of a row to sum together from `offset` on: what is left, rounded up, at most 128."""
    left = width - offset
    return 32 if left <= 32 else 64 if left <= 64 else 128


def padded_bytes(width: int) -> int:
    """Bytes of a row rounded up to whole blocks."""
    left = width % BLOCKS[-1]
    return width - left + (min(size for size in BLOCKS if size >= left) if left else 0)


def sum_codes(packed: bool) -> Callable[..., None]:
    """The function that sums rows of packed codes, or of others."""
    sum_32, sum_64, sum_128 = _NIBBLES if packed else _BYTES

    @inner
    def sum_rows(a: Any, bounds: Any, first: int, rows: int, acc: Any) -> None:
        """Sums over edges of codes less their zero point, int32 [rows, stride], for rows first..first + rows.

        Float64 [rows, stride]: sums of what codes of rows with grids of their own stand for. bounds: where the edges of
        each row begin, and end. Channel c of packed codes is at c below half the channels, else at c - half + second.
        Stride and second are the epilogue's. Reads up to 96 bytes behind a row.
        """
        x, stride, second = a.x, a.epilogue.stride, a.epilogue.second
        offset, width = 0, x.width
        while offset < width:
            size, edges = _block_bytes(width, offset), (a.col, a.num_edges, bounds, first, rows)
            args = (x.data, width, offset, *edges, x.zero_point, acc, stride, second, x.numbers, x.kind)
            if size == 128:
                sum_128(args)
            elif size == 64:
                sum_64(args)
            else:
                sum_32(args)
            offset += size

    return sum_rows
