"""`aggregate`: sums of codes over edges, with the epilogue in the same pass.

Edges are split evenly over threads. A row that crosses a boundary is finished after all parts, from what each summed:
a hub with half of all edges costs no more than its share.
"""

from __future__ import annotations

from typing import Any

import numpy as np
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
from dqrun.kernels.integer.cpu.vectors import LANES
from dqrun.kernels.integer.epilogue import Epilogue

# codes, bytes of a row, channels, whether packed, zero point, whether a row's own codes count, their weight
Source = tuple[Any, ...]


@inner
def _begin(acc: Array, at: int, total: int, value: int) -> None:
    for c in range(total):
        acc[at + c] = value


@inner
def _add_own(acc: Array, sums: Array, row: int, x: Source) -> None:
    """sums = acc + weight * (own codes - zero point), in float64."""
    codes, width, channels, packed, zero_point, _, weight = x
    high = padded_bytes(width)
    own = codes[row * width : (row + 1) * width]
    for c in range(width):
        code = np.int32(own[c] & 15 if packed else own[c])
        sums[c] = np.float64(acc[c]) + weight * np.float64(code - np.int32(zero_point))
    for c in range(channels - width):
        code = np.int32(own[c] >> 4)
        sums[high + c] = np.float64(acc[high + c]) + weight * np.float64(code - np.int32(zero_point))


@inner
def _finish_row(
    acc: Array, sums: Array, row: int, x: Source, affine: Affine, residual: Residual, out: Target, codes: Array
) -> None:
    """The results of a row; packed codes were summed in two halves, the second padded_bytes behind the first."""
    _, width, channels, _, _, own, _ = x
    high, first = padded_bytes(width), width
    if own:
        _add_own(acc, sums, row, x)
    for piece in range(2 if first < channels else 1):
        at, start, count = (high, first, channels - first) if piece else (0, 0, first)
        if own:
            finish_values(sums, at, row, start, count, affine, residual, out, codes)
        else:
            finish_values(acc, at, row, start, count, affine, residual, out, codes)
    pack_row(row, out, codes)


@kernel
def _aggregate(
    rowptr: Array, col: Array, x: Source, affine: Affine, residual: Residual, out: Target, cut: Array, cut_rows: Array
) -> None:
    """cut [parts, 2, total] and cut_rows [parts, 2] take what parts sum for rows that begin or end in another part."""
    codes, width, _, packed, zero_point, _, _ = x
    num_rows, num_parts, total = rowptr.size - 1, cut_rows.size // 2, cut.size // cut_rows.size
    for part in prange(num_parts):
        first, last = share(part, num_parts, col.size)
        row = first_at_least(rowptr[:num_rows], first)
        if rowptr[row] > first:
            row -= 1
        acc, sums = np.empty(total, np.int32), np.empty(total, np.float64)
        results = np.empty(total + LANES, np.uint8)
        cut_rows[2 * part] = cut_rows[2 * part + 1] = -1
        while row < num_rows and (rowptr[row] < last or part == num_parts - 1):
            start, stop = max(first, rowptr[row]), min(last, rowptr[row + 1])
            whole = start == rowptr[row] and stop == rowptr[row + 1]
            _begin(acc, 0, total, -zero_point * (stop - start))
            add_rows(codes, width, packed, col, start, stop, acc, 0)
            if whole:
                _finish_row(acc, sums, row, x, affine, residual, out, results)
            else:
                slot = 2 * part + (start == rowptr[row])
                cut_rows[slot] = row
                cut[slot * total : (slot + 1) * total] = acc
            row += 1
    _finish_cut_rows(cut, cut_rows, total, x, affine, residual, out)


@inner
def _finish_cut_rows(
    cut: Array, cut_rows: Array, total: int, x: Source, affine: Affine, residual: Residual, out: Target
) -> None:
    """Rows that several parts summed, in order."""
    acc, sums, results = np.zeros(total, np.int32), np.empty(total, np.float64), np.empty(total + LANES, np.uint8)
    row = -1
    for slot in range(cut_rows.size):
        if cut_rows[slot] >= 0:
            if row >= 0 and cut_rows[slot] != row:
                _finish_row(acc, sums, row, x, affine, residual, out, results)
                _begin(acc, 0, total, 0)
            row = cut_rows[slot]
            for c in range(total):
                acc[c] += cut[slot * total + c]
    if row >= 0:
        _finish_row(acc, sums, row, x, affine, residual, out, results)


def aggregate(csr: CSR, x: Codes, self_weight: float | None, epilogue: Epilogue) -> Codes | Tensor:
    result, out = target(epilogue, csr.num_nodes, x.channels)
    if csr.num_nodes and x.channels:
        width = x.data.size(1)
        own = (self_weight is not None, self_weight or 0.0)
        source = (readable(x), width, x.channels, x.grid.packed, x.grid.zero_point, *own)
        num_parts = parts((csr.num_edges + csr.num_nodes) * width)
        total = (2 if x.grid.packed else 1) * padded_bytes(width) + LANES
        cut, cut_rows = np.empty(num_parts * 2 * total, np.int32), np.empty(num_parts * 2, np.int64)
        how = finish(epilogue, x.channels)
        _aggregate(array(csr.rowptr), array(csr.col), source, *how, out, cut, cut_rows)
    return result
