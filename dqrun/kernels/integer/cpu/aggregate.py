"""`aggregate`: sums of codes over edges, with the epilogue in the same pass.

Edges are split evenly over threads. A row that crosses a boundary is finished after all parts, from what each summed:
a hub with half of all edges costs no more than its share.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange
from torch import Tensor

from dqrun.graphs import CSR
from dqrun.kernels.cpu.launch import Array, array, first_at_least, inner, kernel, parts, share
from dqrun.kernels.integer import reference
from dqrun.kernels.integer.codes import Codes
from dqrun.kernels.integer.cpu.finish import (
    Affine,
    How,
    Residual,
    Target,
    finish,
    finish_rows,
    numbers_of,
    readable,
    store_rows,
    target,
)
from dqrun.kernels.integer.cpu.row_codes import MOST_ROWS
from dqrun.kernels.integer.cpu.rows import padded_bytes, sum_codes
from dqrun.kernels.integer.cpu.steps import widen
from dqrun.kernels.integer.cpu.vectors import F64, I64, LANES, Builder, Values, hold, make, pointers
from dqrun.kernels.integer.epilogue import Epilogue

PLAIN, OWN, MEAN = 0, 1, 2  # what becomes of a row's sum: nothing; its own codes are added; it is divided by its edges

ROWS = 32  # whose sums wait in the cache for the epilogue

# codes, bytes of a row, channels, whether packed, zero point, what becomes of the sum, the weight of a row's own codes,
# numbers of rows with grids of their own, their kind of offset
Source = tuple[Any, ...]


def _emit_divide(b: Builder) -> None:
    """sums = acc / divisor, in float64. Arguments: acc, sums, count (a multiple of LANES), divisor."""
    acc, sums, count, divisor = b.args
    divisors = b.splat(b.ir.sitofp(divisor, F64), LANES)

    def step(index: Any, _: Values) -> Values:
        place = b.ir.mul(index, I64(LANES))
        values = widen(b, acc, place, b.kinds[0].dtype)
        b.store(b.ir.fdiv(values, divisors), sums, place)
        return []

    b.loop(b.ir.ashr(count, I64(4)), [], step)


_divide = make(_emit_divide)


@inner
def _finish(
    acc: Any, sums: Any, row: int, rows: int, stride: int, num_edges: int, x: Source, how: How, waiting: Any
) -> None:
    """The results of rows; packed codes were summed in two halves, the second padded_bytes behind the first.

    num_edges: of the row, where sums are divided by it (then rows is 1).
    """
    x_codes, width, channels, packed, zero_point, mode, weight, numbers, kind = x
    high = padded_bytes(width)
    if mode == MEAN:
        _divide((acc, sums, (2 if packed else 1) * high, max(num_edges, 1)))
    for piece in range(2 if width < channels else 1):
        at, start, count = (high, width, channels - width) if piece else (0, 0, width)
        mask = (15 if packed else 255) if mode == OWN else 0
        own = (x_codes, row * width, width, 4 * piece, mask, zero_point, weight, numbers, kind)
        if mode == MEAN:
            finish_rows(sums, at, stride, row, rows, start, count, how, own, waiting)
        else:
            finish_rows(acc, at, stride, row, rows, start, count, how, own, waiting)
    store_rows(row, rows, stride, how, waiting)


@kernel
def _aggregate(
    rowptr: Array, col: Array, x: Source, affine: Affine, residual: Residual, out: Target, cut: Array, cut_rows: Array
) -> None:
    """cut [parts, 2, total] and cut_rows [parts, 2] take what parts sum for rows that begin or end in another part.

    Sums are of the type of cut: int32, or float64 of rows with grids of their own.
    """
    num_rows, num_parts, total = rowptr.size - 1, cut_rows.size // 2, cut.size // cut_rows.size
    block = 1 if x[5] == MEAN else ROWS
    for part in prange(num_parts):
        first, last = share(part, num_parts, col.size)
        row = first_at_least(rowptr[:num_rows], first)
        end = first_at_least(rowptr[:num_rows], last) if part < num_parts - 1 else num_rows
        acc, sums = np.empty(ROWS * total, cut.dtype), np.empty(total, np.float64)
        results, reals = np.empty(ROWS * total + LANES, np.uint8), np.empty(ROWS * total + LANES, np.float32)
        ends = np.empty(3 * MOST_ROWS, np.float32)
        bounds = np.empty(2, np.int64)
        x_at, how = pointers(x), (pointers(affine), pointers(residual), pointers(out))
        acc_at, sums_at, col_at, bounds_at, rowptr_at = pointers((acc, sums, col, bounds, rowptr))
        waiting, summed = pointers((results, reals, ends)), (x_at[0], x_at[1], x_at[3], x_at[4], x_at[7], x_at[8])
        cuts = (row - 1 if rowptr[row] > first else -1, -1)
        if end > row and rowptr[end] > last:
            end -= 1
            cuts = (cuts[0], end)
        for side in range(2):
            cut_row, slot = cuts[side], 2 * part + side
            cut_rows[slot] = cut_row
            if cut_row >= 0:
                bounds[0], bounds[1] = max(first, rowptr[cut_row]), min(last, rowptr[cut_row + 1])
                sum_codes(summed, col_at, col.size, bounds_at, 0, 1, acc_at, total)
                cut[slot * total : (slot + 1) * total] = acc[:total]
        while row < end:
            rows = min(block, end - row)
            sum_codes(summed, col_at, col.size, rowptr_at, row, rows, acc_at, total)
            _finish(acc_at, sums_at, row, rows, total, rowptr[row + 1] - rowptr[row], x_at, how, waiting)
            row += rows
        hold((acc, sums, results, reals, ends, bounds))
    how = (pointers(affine), pointers(residual), pointers(out))
    _finish_cut_rows(rowptr, cut, cut_rows, total, pointers(x), how)


@inner
def _finish_cut_rows(rowptr: Array, cut: Array, cut_rows: Array, total: int, x: Source, how: How) -> None:
    """Rows that several parts summed, in order."""
    acc, sums = np.zeros(total, cut.dtype), np.empty(total, np.float64)
    results, reals = np.empty(total + LANES, np.uint8), np.empty(total + LANES, np.float32)
    ends = np.empty(3 * MOST_ROWS, np.float32)
    (acc_at, sums_at), waiting = pointers((acc, sums)), pointers((results, reals, ends))
    num_slots = cut_rows.size
    row: Any = np.int64(-1)  # typed: for literals `_finish` would be compiled again
    one: Any = np.int64(1)
    for slot in range(num_slots + 1):
        next_row = cut_rows[slot] if slot < num_slots else rowptr.size  # behind all rows: the last one ends
        if next_row >= 0:
            if row >= 0 and next_row != row:
                _finish(acc_at, sums_at, row, one, total, rowptr[row + 1] - rowptr[row], x, how, waiting)
                acc[:] = 0
            row = next_row
            if slot < num_slots:
                acc += cut[slot * total : (slot + 1) * total]
    hold((acc, sums, results, reals, ends))


def sum_rows(
    rowptr: Tensor, col: Tensor | None, x: Codes, mode: int, self_weight: float, epilogue: Epilogue
) -> Codes | Tensor:
    """`aggregate` over rowptr and col (None: each row of x once, in order), with what `mode` says done to the sums."""
    num_rows, width = rowptr.numel() - 1, x.data.size(1)
    result, out = target(epilogue, num_rows, x.channels)
    if num_rows and x.channels:
        edges = np.arange(x.num_rows, dtype=np.int32 if x.num_rows < 2**31 else np.int64) if col is None else array(col)
        source = readable(x), width, x.channels, x.grid.packed, x.grid.zero_point, mode, self_weight, *numbers_of(x)
        num_parts = parts((edges.size + num_rows) * width)
        total = (2 if x.grid.packed else 1) * padded_bytes(width) + LANES
        sums = np.int32 if x.numbers is None else np.float64
        cut, cut_rows = np.empty(num_parts * 2 * total, sums), np.empty(num_parts * 2, np.int64)
        _aggregate(array(rowptr), edges, source, *finish(epilogue, x.channels), out, cut, cut_rows)
    return result


def aggregate(csr: CSR, x: Codes, self_weight: float | None, epilogue: Epilogue) -> Codes | Tensor:
    if self_weight is not None and x.numbers is not None and epilogue.in_steps:
        return reference.aggregate(csr, x, self_weight, epilogue)  # from grids of rows to one of all: no network has it
    mode = PLAIN if self_weight is None else OWN
    return sum_rows(csr.rowptr, csr.short_col, x, mode, self_weight or 0.0, epilogue)


def aggregate_mean(csr: CSR, x: Codes, epilogue: Epilogue) -> Codes | Tensor:
    return sum_rows(csr.rowptr, csr.short_col, x, MEAN, 0.0, epilogue)
