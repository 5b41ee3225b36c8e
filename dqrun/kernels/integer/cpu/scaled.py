"""Sums of gathered rows that have grids of their own: what their codes stand for, in float64.

With scales that are powers of two the sum of scale times code is one of shifted codes, in 32 bits, where it fits:
edges * 255 * largest / smallest scale below 2^31. It is the float64 sum, which is exact there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from dqrun.kernels.cpu.launch import inner
from dqrun.kernels.cpu.vector import (
    F64x16,
    I32x16,
    I32x32,
    U8x16,
    U8x32,
    convert,
    fma,
    high_half,
    load,
    low_half,
    prefetch,
    registers,
    splat,
    store,
)
from dqrun.kernels.integer.cpu.finish import row_values
from dqrun.kernels.integer.cpu.rows import AHEAD, Codes, Edges, block_bytes, padded_bytes, request

HALF, PART = 16, 32  # codes in vectors of float64, and of integers
BEYOND = 2.0**31  # what int32 holds
LARGEST_CODE = 255.0


@inner
def _request(x: Codes, offset: int, last: int, edges: Edges, edge: int) -> None:
    """Also asks for the numbers of the row."""
    request(x[0], x[1], offset, last, edges, edge)
    prefetch(x[4], 2 * edges[0][min(edge + AHEAD, edges[1] - 1)])


def _scaled(size: int, packed: bool) -> Callable[..., None]:
    """For so many bytes."""
    low = size // HALF
    parts = 2 * low if packed else low

    @inner
    def sums(x: Codes, offset: int, edges: Edges, start: int, stop: int, acc: Any, at: int) -> None:
        """acc[at + c] = the sum over the edges start..stop of scale * code, plus that of their rows' lowest numbers.

        Both sums are taken in the order of edges. A product of a float32 scale and a code is exact.
        """
        codes, width, _, _, numbers, kind = x
        col, _ = edges
        last, high = min(offset + size, width), padded_bytes(width, packed)
        total, least = registers(F64x16, parts), 0.0
        for v in range(parts):
            total[v] = splat(F64x16, 0.0)
        for edge in range(start, stop):
            _request(x, offset, last, edges, edge)
            scale, lowest = row_values(numbers, kind, col[edge], 1.0)
            least += lowest
            row = col[edge] * width + offset
            for v in range(parts):
                code = convert(I32x16, load(U8x16, codes, row + HALF * (v % low)))
                if packed:
                    code = (code >> 4) if v >= low else (code & 15)
                total[v] = fma(convert(F64x16, code), scale, total[v])
        for v in range(parts):
            store(acc, at + offset + (high if v >= low else 0) + HALF * (v % low), total[v] + least)

    return sums


def _shifted(size: int, packed: bool) -> Callable[..., None]:
    """For so many bytes."""
    low = size // PART
    parts = 2 * low if packed else low

    @inner
    def sums(x: Codes, offset: int, edges: Edges, start: int, stop: int, acc: Any, at: int, smallest: Any) -> None:
        """As `_scaled`, of rows whose scales are powers of two, none below `smallest`, with sums that fit int32."""
        codes, width, _, _, numbers, kind = x
        col, _ = edges
        last, high = min(offset + size, width), padded_bytes(width, packed)
        total, least, unit = registers(I32x32, parts), 0.0, np.float32(smallest).view(np.int32)
        for v in range(parts):
            total[v] = splat(I32x32, 0)
        for edge in range(start, stop):
            _request(x, offset, last, edges, edge)
            least += row_values(numbers, kind, col[edge], 1.0)[1]
            shift = (np.float32(numbers[2 * col[edge]]).view(np.int32) - unit) >> 23
            row = col[edge] * width + offset
            for v in range(parts):
                code = load(U8x32, codes, row + PART * (v % low))
                if packed:
                    code = (code >> 4) if v >= low else (code & 15)
                total[v] = total[v] + (convert(I32x32, code) << shift)
        for v in range(parts):
            place = at + offset + (high if v >= low else 0) + PART * (v % low)
            for half in range(2):
                code = high_half(total[v]) if half else low_half(total[v])
                store(acc, place + HALF * half, convert(F64x16, code) * np.float64(smallest) + least)

    return sums


_scaled_32, _scaled_64, _scaled_128 = (_scaled(size, False) for size in (32, 64, 128))
_scaled_nibbles_32, _scaled_nibbles_64 = (_scaled(size, True) for size in (32, 64))
_shifted_32, _shifted_64, _shifted_nibbles = _shifted(32, False), _shifted(64, False), _shifted(32, True)


@inner
def _ends(x: Codes, edges: Edges, start: int, stop: int) -> tuple[Any, Any]:
    """The smallest and the largest scale of the sources of edges."""
    numbers, (col, _) = x[4], edges
    smallest = largest = numbers[2 * col[start]]
    for edge in range(start + 1, stop):
        scale = numbers[2 * col[edge]]
        smallest, largest = min(smallest, scale), max(largest, scale)
    return smallest, largest


@inner
def _sum_row(x: Codes, edges: Edges, start: int, stop: int, acc: Any, at: int) -> None:
    _, width, packed, _, _, _ = x
    offset = 0
    while offset < width:
        size = block_bytes(width - offset, packed)
        if packed and size == 32:
            _scaled_nibbles_32(x, offset, edges, start, stop, acc, at)
        elif packed:
            _scaled_nibbles_64(x, offset, edges, start, stop, acc, at)
        elif size == 32:
            _scaled_32(x, offset, edges, start, stop, acc, at)
        elif size == 64:
            _scaled_64(x, offset, edges, start, stop, acc, at)
        else:
            _scaled_128(x, offset, edges, start, stop, acc, at)
        offset += size


@inner
def _shift_row(x: Codes, edges: Edges, start: int, stop: int, acc: Any, at: int, smallest: Any) -> None:
    _, width, packed, _, _, _ = x
    offset = 0
    while offset < width:
        size = 32 if packed or width - offset <= 32 else 64
        if packed:
            _shifted_nibbles(x, offset, edges, start, stop, acc, at, smallest)
        elif size == 32:
            _shifted_32(x, offset, edges, start, stop, acc, at, smallest)
        else:
            _shifted_64(x, offset, edges, start, stop, acc, at, smallest)
        offset += size


@inner
def sum_scaled(x: Codes, shifts: bool, edges: Edges, bounds: Any, first: int, rows: int, acc: Any, stride: int) -> None:
    """Float64 [rows, stride]: sums over edges of what codes stand for; places are those of `rows.sum_codes`.

    shifts: whether all scales are powers of two.
    """
    for r in range(rows):
        start, stop = bounds[first + r], bounds[first + r + 1]
        smallest, reach = np.float32(1), BEYOND
        if shifts and start < stop:
            smallest, largest = _ends(x, edges, start, stop)
            reach = np.float64(largest) / np.float64(smallest) * LARGEST_CODE * (stop - start)
        if reach < BEYOND:
            _shift_row(x, edges, start, stop, acc, r * stride, smallest)
        else:
            _sum_row(x, edges, start, stop, acc, r * stride)
