"""Sums of gathered rows of codes: the inner loop of `aggregate`. `scaled` has those of rows with grids of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dqrun.kernels.cpu.launch import inner
from dqrun.kernels.cpu.vector import (
    I32x32,
    U8x32,
    U8x64,
    U16x32,
    convert,
    high_half,
    load,
    low_half,
    prefetch,
    registers,
    splat,
    store,
)

PART = 32  # codes that lie in one vector
MOST_BYTES = 257  # codes of 8 bits of which the sum fits 16 bits
MOST_NIBBLES = 17  # codes of 4 bits of which the sum fits 8 bits
AHEAD = 128  # edges between the request of a row and its use: the cache misses that run at once (16: twice the time)
LINE = 64  # bytes of a cache line

Codes = tuple[Any, ...]  # codes, bytes of a row, whether packed, zero point, numbers of rows, their kind of offset
Edges = tuple[Any, Any]  # the source of each edge, number of edges


@inner
def request(x: Any, width: int, first: int, last: int, edges: Edges, edge: int) -> None:
    """Asks for the bytes first..last of the row of the edge AHEAD of this one, or of the last edge."""
    col, limit = edges
    row = col[min(edge + AHEAD, limit - 1)] * width
    for place in range(row + first, row + last, LINE):
        prefetch(x, place)
    prefetch(x, row + last - 1)


def _of_bytes(parts: int) -> Callable[..., None]:
    @inner
    def sums(x: Codes, offset: int, edges: Edges, bounds: Any, first: int, rows: int, acc: Any, stride: int) -> None:
        """acc[r * stride + c] = sum over row r's edges of (code of channel c - zero point), c from `offset` on.

        Codes are added in 16 bits as many as fit, then in 32. Row r has the edges bounds[first + r]..bounds[first + r +
        1].
        """
        codes, width, _, zero_point, _, _ = x
        col, _ = edges
        last = min(offset + PART * parts, width)
        total, some = registers(I32x32, parts), registers(U16x32, parts)
        for r in range(rows):
            start, stop = bounds[first + r], bounds[first + r + 1]
            for v in range(parts):
                total[v] = splat(I32x32, (start - stop) * zero_point)
            for begin in range(start, stop, MOST_BYTES):
                for v in range(parts):
                    some[v] = splat(U16x32, 0)
                for edge in range(begin, min(begin + MOST_BYTES, stop)):
                    request(codes, width, offset, last, edges, edge)
                    row = col[edge] * width + offset
                    for v in range(parts):
                        some[v] = some[v] + convert(U16x32, load(U8x32, codes, row + PART * v))
                for v in range(parts):
                    total[v] = total[v] + convert(I32x32, some[v])
            for v in range(parts):
                store(acc, r * stride + offset + PART * v, total[v])

    return sums


@inner
def _widen_32(total: Any, some: Any) -> None:
    for v in range(2):
        total[v] = total[v] + convert(I32x32, some[v])


@inner
def _widen_64(total: Any, some: Any) -> None:
    for v in range(2):
        total[2 * v] = total[2 * v] + convert(I32x32, low_half(some[v]))
        total[2 * v + 1] = total[2 * v + 1] + convert(I32x32, high_half(some[v]))


def _of_nibbles(kind: Any, widen: Callable[..., None]) -> Callable[..., None]:
    parts = kind.lanes // PART
    size, sums_size = kind.lanes, 2 * parts

    @inner
    def sums(x: Codes, offset: int, edges: Edges, bounds: Any, first: int, rows: int, acc: Any, stride: int) -> None:
        """As `_of_bytes`, of codes two in a byte, added in 8 bits as many as fit.

        The sums of the high nibbles lie `padded_bytes` behind those of the low ones.
        """
        codes, width, _, zero_point, _, _ = x
        col, _ = edges
        last, high = min(offset + size, width), padded_bytes(width, True)
        total, some = registers(I32x32, sums_size), registers(kind, 2)
        for r in range(rows):
            start, stop = bounds[first + r], bounds[first + r + 1]
            for v in range(sums_size):
                total[v] = splat(I32x32, (start - stop) * zero_point)
            for begin in range(start, stop, MOST_NIBBLES):
                for v in range(2):
                    some[v] = splat(kind, 0)
                for edge in range(begin, min(begin + MOST_NIBBLES, stop)):
                    request(codes, width, offset, last, edges, edge)
                    both = load(kind, codes, col[edge] * width + offset)
                    some[0] = some[0] + (both & 15)
                    some[1] = some[1] + (both >> 4)
                widen(total, some)
            for v in range(sums_size):
                behind = high if v >= parts else 0
                store(acc, r * stride + offset + behind + PART * (v % parts), total[v])

    return sums


_bytes_32, _bytes_64, _bytes_128 = (_of_bytes(parts) for parts in (1, 2, 4))
_nibbles_32, _nibbles_64 = _of_nibbles(U8x32, _widen_32), _of_nibbles(U8x64, _widen_64)


@inner
def block_bytes(left: int, packed: bool) -> int:
    """How many bytes of a row, of which so many are left, to sum together: 128 codes at most."""
    return 32 if left <= 32 else 64 if left <= 64 or packed else 128


@inner
def padded_bytes(width: int, packed: bool) -> int:
    """Bytes of a row rounded up to whole blocks."""
    most = 64 if packed else 128
    whole = width // most * most
    return whole if whole == width else whole + block_bytes(width - whole, packed)


@inner
def sum_codes(x: Codes, edges: Edges, bounds: Any, first: int, rows: int, acc: Any, stride: int) -> None:
    """Sums over edges of codes less their zero point, int32 [rows, stride], for rows first..first + rows.

    bounds: where the edges of each row begin, and end. Channel c of packed codes is at c below half the channels, else
    at c - half + padded_bytes(width). Reads up to 63 bytes behind a row.
    """
    _, width, packed, _, _, _ = x
    offset = 0
    while offset < width:
        size = block_bytes(width - offset, packed)
        if size == 32 and packed:
            _nibbles_32(x, offset, edges, bounds, first, rows, acc, stride)
        elif packed:
            _nibbles_64(x, offset, edges, bounds, first, rows, acc, stride)
        elif size == 128:
            _bytes_128(x, offset, edges, bounds, first, rows, acc, stride)
        elif size == 64:
            _bytes_64(x, offset, edges, bounds, first, rows, acc, stride)
        else:
            _bytes_32(x, offset, edges, bounds, first, rows, acc, stride)
        offset += size
