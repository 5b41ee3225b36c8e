"""`aggregate`: sums of codes over edges, with the epilogue in the same pass.

Edges are split evenly over threads. A row that crosses a boundary is finished after all parts, from what each summed:
a hub with half of all edges costs no more than its share.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import prange
from torch import Tensor

from dqrun.graph import CSR
from dqrun.kernels.cpu.launch import Array, array, first_at_least, inner, kernel, parts, share
from dqrun.kernels.integer.codes import Codes
from dqrun.kernels.integer.cpu.finish import (
    Affine,
    Residual,
    Target,
    finish,
    finish_values,
    pack_row,
    readable,
    target,
)
from dqrun.kernels.integer.cpu.rows import add_rows, padded_bytes
from dqrun.kernels.integer.cpu.vectors import F64, I8, I32, I64, LANES, Builder, Values, hold, make, pointers
from dqrun.kernels.integer.epilogue import Epilogue

PLAIN, OWN, MEAN = 0, 1, 2  # what becomes of a row's sum: nothing; its own codes are added; it is divided by its edges

# codes, bytes of a row, channels, whether packed, zero point, what becomes of the sum, the weight of a row's own codes
Source = tuple[Any, ...]


def _emit_fill(b: Builder) -> None:
    """Arguments: acc, count (a multiple of LANES), value."""
    acc, count, value = b.args
    values = b.splat(b.ir.trunc(value, I32), LANES)

    def step(index: Any, _: Values) -> Values:
        b.store(values, acc, b.ir.mul(index, I64(LANES)))
        return []

    b.loop(b.ir.ashr(count, I64(4)), [], step)


def _emit_add_own(b: Builder) -> None:
    """sums = acc + weight * (own codes - zero point), in float64, of the channels in the low or the high nibbles.

    Arguments: acc, at, sums, x, start, bytes of a row, shift, mask, zero point, weight.
    """
    acc, at, sums, x, start, width, shift, mask, zero_point, weight = b.args
    shifts, masks = (b.splat(b.ir.trunc(value, I8), LANES) for value in (shift, mask))
    zero, weights = b.splat(b.ir.sitofp(zero_point, F64), LANES), b.splat(weight, LANES)
    doubles = ir.VectorType(F64, LANES)

    def step(index: Any, _: Values) -> Values:
        place = b.ir.mul(index, I64(LANES))
        codes = b.ir.lshr(b.load(x, b.ir.add(start, place), ir.VectorType(I8, LANES)), shifts)
        own = b.ir.fsub(b.ir.uitofp(b.ir.and_(codes, masks), doubles), zero)
        where = b.ir.add(at, place)
        others = b.ir.sitofp(b.load(acc, where, ir.VectorType(I32, LANES)), doubles)
        b.store(b.ir.fadd(others, b.ir.fmul(weights, own)), sums, where)
        return []

    b.loop(b.ir.ashr(b.ir.add(width, I64(LANES - 1)), I64(4)), [], step)


def _emit_divide(b: Builder) -> None:
    """sums = acc / divisor, in float64. Arguments: acc, sums, count (a multiple of LANES), divisor."""
    acc, sums, count, divisor = b.args
    doubles = ir.VectorType(F64, LANES)
    divisors = b.splat(b.ir.sitofp(divisor, F64), LANES)

    def step(index: Any, _: Values) -> Values:
        place = b.ir.mul(index, I64(LANES))
        values = b.ir.sitofp(b.load(acc, place, ir.VectorType(I32, LANES)), doubles)
        b.store(b.ir.fdiv(values, divisors), sums, place)
        return []

    b.loop(b.ir.ashr(count, I64(4)), [], step)


_fill, _add_own, _divide = make(_emit_fill), make(_emit_add_own), make(_emit_divide)


@inner
def _finish_row(acc: Any, sums: Any, row: int, num_edges: int, x: Source, how: Any, codes: Any) -> None:
    """The results of a row; packed codes were summed in two halves, the second padded_bytes behind the first."""
    _, width, channels, packed, zero_point, mode, weight = x
    affine, residual, out = how
    high = padded_bytes(width)
    if mode == MEAN:
        _divide((acc, sums, (2 if packed else 1) * high, max(num_edges, 1)))
    if mode == OWN:
        _add_own((acc, 0, sums, x[0], row * width, width, 0, 15 if packed else 255, zero_point, weight))
        if packed:
            _add_own((acc, high, sums, x[0], row * width, width, 4, 15, zero_point, weight))
    for piece in range(2 if width < channels else 1):
        at, start, count = (high, width, channels - width) if piece else (0, 0, width)
        if mode != PLAIN:
            finish_values(sums, at, row, start, count, affine, residual, out, codes)
        else:
            finish_values(acc, at, row, start, count, affine, residual, out, codes)
    pack_row(row, out, codes)


@kernel
def _aggregate(
    rowptr: Array, col: Array, x: Source, affine: Affine, residual: Residual, out: Target, cut: Array, cut_rows: Array
) -> None:
    """cut [parts, 2, total] and cut_rows [parts, 2] take what parts sum for rows that begin or end in another part."""
    _, width, _, packed, zero_point, _, _ = x
    num_rows, num_parts, total = rowptr.size - 1, cut_rows.size // 2, cut.size // cut_rows.size
    for part in prange(num_parts):
        first, last = share(part, num_parts, col.size)
        row = first_at_least(rowptr[:num_rows], first)
        if rowptr[row] > first:
            row -= 1
        acc, sums = np.empty(total, np.int32), np.empty(total, np.float64)
        results = np.empty(total + LANES, np.uint8)
        x_at, how = pointers(x), (pointers(affine), pointers(residual), pointers(out))
        acc_at, sums_at, results_at, col_at = pointers((acc, sums, results, col))
        cut_rows[2 * part] = cut_rows[2 * part + 1] = -1
        while row < num_rows and (rowptr[row] < last or part == num_parts - 1):
            start, stop = max(first, rowptr[row]), min(last, rowptr[row + 1])
            whole = start == rowptr[row] and stop == rowptr[row + 1]
            _fill((acc_at, total, -zero_point * (stop - start)))
            add_rows(x_at[0], width, packed, col_at, col.size, start, stop, acc_at)
            if whole:
                _finish_row(acc_at, sums_at, row, stop - start, x_at, how, results_at)
            else:
                slot = 2 * part + (start == rowptr[row])
                cut_rows[slot] = row
                cut[slot * total : (slot + 1) * total] = acc
            row += 1
        hold((acc, sums, results))
    how = (pointers(affine), pointers(residual), pointers(out))
    _finish_cut_rows(rowptr, cut, cut_rows, total, pointers(x), how)


@inner
def _finish_cut_rows(rowptr: Array, cut: Array, cut_rows: Array, total: int, x: Source, how: Any) -> None:
    """Rows that several parts summed, in order."""
    acc, sums, results = np.zeros(total, np.int32), np.empty(total, np.float64), np.empty(total + LANES, np.uint8)
    acc_at, sums_at, results_at = pointers((acc, sums, results))
    row = -1
    for slot in range(cut_rows.size):
        if cut_rows[slot] >= 0:
            if row >= 0 and cut_rows[slot] != row:
                _finish_row(acc_at, sums_at, row, rowptr[row + 1] - rowptr[row], x, how, results_at)
                acc[:] = 0
            row = cut_rows[slot]
            acc += cut[slot * total : (slot + 1) * total]
    if row >= 0:
        _finish_row(acc_at, sums_at, row, rowptr[row + 1] - rowptr[row], x, how, results_at)
    hold((acc, sums, results))


def sum_rows(
    rowptr: Tensor, col: Tensor | None, x: Codes, mode: int, self_weight: float, epilogue: Epilogue
) -> Codes | Tensor:
    """`aggregate` over rowptr and col (None: each row of x once, in order), with what `mode` says done to the sums."""
    num_rows, width = rowptr.numel() - 1, x.data.size(1)
    result, out = target(epilogue, num_rows, x.channels)
    if num_rows and x.channels:
        edges = np.arange(x.num_rows) if col is None else array(col)
        source = (readable(x), width, x.channels, x.grid.packed, x.grid.zero_point, mode, self_weight)
        num_parts = parts((edges.size + num_rows) * width)
        total = (2 if x.grid.packed else 1) * padded_bytes(width) + LANES
        cut, cut_rows = np.empty(num_parts * 2 * total, np.int32), np.empty(num_parts * 2, np.int64)
        _aggregate(array(rowptr), edges, source, *finish(epilogue, x.channels), out, cut, cut_rows)
    return result


def aggregate(csr: CSR, x: Codes, self_weight: float | None, epilogue: Epilogue) -> Codes | Tensor:
    mode = PLAIN if self_weight is None else OWN
    return sum_rows(csr.rowptr, csr.col, x, mode, self_weight or 0.0, epilogue)
