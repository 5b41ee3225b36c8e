"""Sums of gathered rows: the inner loop of `aggregate`."""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from dqrun.kernels.cpu.launch import inner
from dqrun.kernels.integer.cpu.vectors import I8, I16, I32, Builder, Values, make, zeros

BLOCKS = (32, 64, 128)  # bytes of a row that are summed together
MOST_BYTES = 257  # codes of 8 bits of which the sum fits 16 bits
MOST_NIBBLES = 17  # codes of 4 bits of which the sum fits 8 bits


def _emit_sum(b: Builder, num_bytes: int, packed: bool) -> None:
    """acc[c] += the sum over the edges first..first + count of the codes of the bytes offset + c, c < num_bytes.

    Packed codes: the sums of the low nibbles go to acc, those of the high ones `high` places behind. At most
    MOST_BYTES (MOST_NIBBLES) edges. Arguments: x, bytes of a row, offset, col, first, count, number of edges in all,
    acc, at, high.
    """
    x, stride, offset, col, first, count, limit, acc, at, high = b.args
    codes = ir.VectorType(I8, num_bytes)
    narrow = ir.VectorType(I8 if packed else I16, num_bytes)
    low_mask, four = (ir.Constant(codes, [value] * num_bytes) for value in (15, 4))

    def step(index: Any, sums: Values) -> Values:
        edge = b.ir.add(first, index)
        b.request(col, edge, limit, stride, offset, x, num_bytes)
        row = b.load(x, b.row(col, edge, stride, offset), codes)
        terms = [b.ir.and_(row, low_mask), b.ir.lshr(row, four)] if packed else [b.ir.zext(row, narrow)]
        return [b.ir.add(old, term) for old, term in zip(sums, terms, strict=True)]

    start = zeros(I8 if packed else I16, num_bytes)
    sums = b.loop(count, [start, start] if packed else [start], step)
    for place, value in zip((at, b.ir.add(at, high)), sums, strict=False):
        wide = b.ir.zext(value, ir.VectorType(I32, num_bytes))
        b.store(b.ir.add(b.load(acc, place, wide.type), wide), acc, place)


_bytes_32, _bytes_64, _bytes_128 = (make(_emit_sum, size, False) for size in BLOCKS)
_nibbles_32, _nibbles_64, _nibbles_128 = (make(_emit_sum, size, True) for size in BLOCKS)


@inner
def block_bytes(width: int, offset: int) -> int:
    """How many bytes of a row to sum together from `offset` on: what is left, rounded up, at most 128."""
    left = width - offset
    return 32 if left <= 32 else 64 if left <= 64 else 128


@inner
def padded_bytes(width: int) -> int:
    """Bytes of a row rounded up to whole blocks."""
    whole = width // 128 * 128
    return whole if whole == width else whole + block_bytes(width, whole)


@inner
def add_rows(x: Any, width: int, packed: bool, col: Any, limit: int, first: int, last: int, acc: Any) -> None:
    """Adds the codes of the rows col[first..last] of x to acc, int32; col has `limit` edges. x, col, acc: pointers.

    Channel c of packed codes is at c below half the channels, else at c - half + padded_bytes(width). Reads up to 96
    bytes behind a row.
    """
    high, most = padded_bytes(width), MOST_NIBBLES if packed else MOST_BYTES
    for start in range(first, last, most):
        count, offset = min(most, last - start), 0
        while offset < width:
            size = block_bytes(width, offset)
            args = (x, width, offset, col, start, count, limit, acc, offset, high)
            if packed:
                if size == 128:
                    _nibbles_128(args)
                elif size == 64:
                    _nibbles_64(args)
                else:
                    _nibbles_32(args)
            elif size == 128:
                _bytes_128(args)
            elif size == 64:
                _bytes_64(args)
            else:
                _bytes_32(args)
            offset += size
