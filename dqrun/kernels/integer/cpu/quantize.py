"""`quantize`: from float32 to codes in one pass, in float32 as in training."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import prange
from torch import Tensor

from dqrun.kernels.cpu.launch import Array, array, inner, kernel, parts, share
from dqrun.kernels.integer.codes import CodeGrid, Codes, Grid
from dqrun.kernels.integer.cpu.finish import pack
from dqrun.kernels.integer.cpu.row_codes import MOST_ROWS, Rule, encode_row, encode_rows, rule_of
from dqrun.kernels.integer.cpu.vectors import F32, I8, I32, I64, LANES, Builder, Values, hold, make, pointers
from dqrun.kernels.integer.row_grid import RowGrid

FLOATS = ir.VectorType(F32, LANES)


def _emit_quantize(b: Builder) -> None:
    """Arguments: x, start, count, 1 / scale, zero point, largest code, codes, at."""
    x, start, count, *grid, codes, at = b.args
    inverse, zero_point, top = (b.splat(b.ir.fptrunc(value, F32), LANES) for value in grid)
    zero = ir.Constant(FLOATS, [0.0] * LANES)

    def step(index: Any, _: Values) -> Values:
        place = b.ir.mul(index, I64(LANES))
        left = b.ir.sub(count, place)
        v = b.ir.fmul(b.load_some(x, b.ir.add(start, place), FLOATS, left), inverse)
        v = b.ir.fadd(b.call(f"llvm.rint.v{LANES}f32", FLOATS, [v]), zero_point)
        v = b.ir.select(b.ir.fcmp_ordered(">", v, zero), v, zero)
        v = b.ir.select(b.ir.fcmp_ordered("<", v, top), v, top)
        code = b.ir.trunc(b.ir.fptosi(v, ir.VectorType(I32, LANES)), ir.VectorType(I8, LANES))
        b.store_some(code, codes, b.ir.add(at, place), left)
        return []

    b.loop(b.ir.ashr(b.ir.add(count, I64(LANES - 1)), I64(4)), [], step)


_quantize_some = make(_emit_quantize)


@inner
def _quantize_packed(x: Any, row: int, grid: Any, channels: int, codes: Any, out: Any) -> None:
    half = (channels + 1) // 2
    _quantize_some((x, row * channels, channels, *grid, codes, 0))
    pack((1, codes, 0, channels, out, row * half, half))


@kernel
def _quantize(x: Array, channels: int, packed: bool, grid: Any, out: Array, num_parts: int) -> None:
    for part in prange(num_parts):
        codes = np.empty(channels + LANES, np.uint8)
        x_at, codes_at, out_at = pointers((x, codes, out))
        start, stop = share(part, num_parts, x.size // channels)
        if packed:
            for row in range(start, stop):
                _quantize_packed(x_at, row, grid, channels, codes_at, out_at)
        else:
            first = start * channels
            _quantize_some((x_at, first, stop * channels - first, *grid, out_at, first))
        hold((codes,))


@inner
def _encode_some(
    x: Array, row: int, rows: int, channels: int, ends: Any, rule: Rule, numbers: Any, codes: Any, at: int, stride: int
) -> None:
    """Rows of x to codes[at..], their numbers to numbers[row..]; reads no more of x than there is."""
    (x_at,) = pointers((x,))
    if (row + rows) * channels + LANES <= x.size:
        encode_rows(x_at, row * channels, rows, channels, channels, ends, rule, numbers, row, codes, at, stride)
    else:
        for r in range(rows):
            encode_row(x_at, (row + r) * channels, channels, rule, numbers, row + r, codes, at + r * stride)


@kernel
def _quantize_rows(
    x: Array, channels: int, packed: bool, rule: Rule, numbers: Array, out: Array, num_parts: int
) -> None:
    half, stride = (channels + 1) // 2, channels + LANES
    for part in prange(num_parts):
        codes, ends = np.empty(MOST_ROWS * stride, np.uint8), np.empty(3 * MOST_ROWS, np.float32)
        codes_at, out_at, numbers_at, rule_at, ends_at = pointers((codes, out, numbers, rule, ends))
        begin, stop = share(part, num_parts, x.size // channels)
        for row in range(begin, stop, MOST_ROWS):
            rows = min(MOST_ROWS, stop - row)
            if packed:
                _encode_some(x, row, rows, channels, ends_at, rule_at, numbers_at, codes_at, 0, stride)
                pack((rows, codes_at, stride, channels, out_at, row * half, half))
            else:
                at = row * channels
                _encode_some(x, row, rows, channels, ends_at, rule_at, numbers_at, out_at, at, channels)
        hold((codes, ends))


def quantize(x: Tensor, grid: Grid) -> Codes:
    codes = Codes.empty(x.size(0), x.size(1), grid)
    if x.numel() and isinstance(grid, RowGrid) and codes.numbers is not None:
        given = array(x), x.size(1), grid.packed, rule_of(grid), array(codes.numbers), array(codes.data)
        _quantize_rows(*given, parts(x.numel()))
    elif x.numel():
        assert isinstance(grid, CodeGrid)
        inverse = np.float32(1) / np.float32(grid.scale)
        values = float(inverse), float(grid.zero_point), float(grid.top)
        _quantize(array(x), x.size(1), grid.packed, values, array(codes.data), parts(x.numel()))
    return codes
