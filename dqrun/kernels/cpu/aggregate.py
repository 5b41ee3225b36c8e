"""Sums over edges: `spmm` and `spmm_quantized`, and their gradients, without a tensor of messages.

Every sum is one kernel, `_aggregate`: row i of the result collects its edges' terms. Edges are split evenly over
threads; a row that crosses a boundary is begun by the part in which it starts, what later parts contribute is added
after all are done, in order. A hub with half of all edges costs no more than its share.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from dqrun.kernels.cpu.edge_dots import dot_edges
from dqrun.kernels.cpu.edge_rows import add_rows
from dqrun.kernels.cpu.edge_terms import MASKED, NO_GRID, PLAIN, ROUNDED, Terms, add_edges, terms_of
from dqrun.kernels.cpu.grids import GridValues, grid_values
from dqrun.kernels.cpu.launch import Array, array, first_at_least, kernel, parts, share
from dqrun.kernels.cpu.noise import NoiseValues, noise_values
from dqrun.kernels.cpu.pointers import pointers
from dqrun.kernels.noise import NO_NOISE

NO_NOISE_VALUES = noise_values(*NO_NOISE)


@kernel
def _aggregate(
    part: int,
    num_parts: int,
    rowptr: Array,
    terms: Terms,
    grid: GridValues,
    noise: NoiseValues,
    num_edges: int,
    self_weight: Any,
    out: Array,
    carry: Array,
    carry_row: Array,
) -> None:
    """Row i of out [N, heads * channels] = self_weight * x[i] + sum of the terms of the edges rowptr[i]..rowptr[i + 1].

    carry [parts, heads * channels]: each part's terms for the row that an earlier part began; carry_row [parts]: that
    row, or -1.
    """
    num_rows, width = rowptr.size - 1, out.shape[1]
    at, (out_at, carry_at) = pointers(terms), pointers((out, carry))
    has = terms[0].size > 0, terms[1].size > 0, terms[2].size > 0, terms[5].size > 0
    x, mode, heads = at[3], at[6], at[7]
    by_rows = mode == PLAIN and (heads == 1 or not has[2])
    first, last = share(part, num_parts, num_edges)
    row = first_at_least(rowptr[:num_rows], first)
    carried = -1
    if rowptr[row] > first:
        row -= 1
        carried = row
    carry_row[part] = carried
    while row < num_rows and (rowptr[row] < last or part == num_parts - 1):
        total, place = (carry_at, part * width) if row == carried else (out_at, row * width)
        own = self_weight if row != carried else np.float32(0)
        for f in range(width):
            total[place + f] = own * x[row * width + f] if own != 0 else np.float32(0)
        begin, end = max(first, rowptr[row]), min(last, rowptr[row + 1])
        if by_rows:
            add_rows(total, place, width, (begin, end, num_edges), at, has)
        else:
            add_edges(total, place, width, row, begin, end, at, has, grid, noise)
        row += 1


def sum_edges(
    rowptr: Tensor,
    x: Tensor,
    col: Tensor | None = None,
    edge: Tensor | None = None,
    weight: Tensor | None = None,
    own: Tensor | None = None,
    protected: Tensor | None = None,
    grid: GridValues = NO_GRID,
    noise: NoiseValues = NO_NOISE_VALUES,
    mode: int = PLAIN,
    self_weight: float = 0.0,
) -> Tensor:
    """`_aggregate` on tensors: x [M, F] or [M, H, C] to [N, F] or [N, H, C], N = rowptr.numel() - 1.

    self_weight other than 0: M = N.
    """
    out = torch.empty(rowptr.numel() - 1, *x.shape[1:])
    if out.numel():
        num_edges = x.size(0) if col is None else col.numel()
        terms = terms_of(x, col, edge, weight, own, protected, mode)
        rows = out.view(out.size(0), -1).numpy()
        num_parts = parts(num_edges * rows.shape[1])
        carry, carry_row = np.empty((num_parts, rows.shape[1]), np.float32), np.empty(num_parts, np.int64)
        _aggregate(
            num_parts, array(rowptr), terms, grid, noise, num_edges, np.float32(self_weight), rows, carry, carry_row
        )
        for part in (carry_row >= 0).nonzero()[0]:
            rows[carry_row[part]] += carry[part]
    return out


def spmm(x: Tensor, weight: Tensor | None, rowptr: Tensor, col: Tensor, *_: Tensor) -> Tensor:
    return sum_edges(rowptr, x, col, None, weight)


def spmm_backward(
    grad: Tensor,
    weight: Tensor | None,
    _rowptr: Tensor,
    _col: Tensor,
    _row: Tensor,
    t_rowptr: Tensor,
    t_col: Tensor,
    t_edge: Tensor,
) -> Tensor:
    return sum_edges(t_rowptr, grad, t_col, t_edge, weight)


def spmm_weight_backward(
    grad: Tensor, x: Tensor, weight: Tensor, _rowptr: Tensor, col: Tensor, row: Tensor, *_: Tensor
) -> Tensor:
    return dot_edges(row, col, grad, x, weight, None, NO_GRID, NO_NOISE_VALUES, PLAIN)


def spmm_self(x: Tensor, self_weight: Tensor, rowptr: Tensor, col: Tensor, *_: Tensor) -> Tensor:
    return sum_edges(rowptr, x, col, self_weight=self_weight.item())


def spmm_self_backward(
    grad: Tensor,
    self_weight: Tensor,
    _rowptr: Tensor,
    _col: Tensor,
    _row: Tensor,
    t_rowptr: Tensor,
    t_col: Tensor,
    _t_edge: Tensor,
) -> Tensor:
    return sum_edges(t_rowptr, grad, t_col, self_weight=self_weight.item())


def spmm_quantized(
    x: Tensor,
    weight: Tensor | None,
    scale: Tensor,
    zero_point: Tensor,
    qmin: int,
    qmax: int,
    protected: Tensor | None,
    estimator: str,
    rate: float,
    low: int,
    high: int,
    rowptr: Tensor,
    col: Tensor,
    *_: Tensor,
) -> Tensor:
    grid, noise = grid_values(scale, zero_point, qmin, qmax, estimator), noise_values(rate, low, high)
    return sum_edges(rowptr, x, col, None, weight, None, protected, grid, noise, ROUNDED)


def spmm_quantized_backward(
    grad: Tensor,
    x: Tensor,
    weight: Tensor | None,
    scale: Tensor,
    zero_point: Tensor,
    qmin: int,
    qmax: int,
    protected: Tensor | None,
    estimator: str,
    rate: float,
    low: int,
    high: int,
    _rowptr: Tensor,
    _col: Tensor,
    _row: Tensor,
    t_rowptr: Tensor,
    t_col: Tensor,
    t_edge: Tensor,
) -> Tensor:
    grid, noise = grid_values(scale, zero_point, qmin, qmax, estimator), noise_values(rate, low, high)
    mode = PLAIN if estimator == "ste" else MASKED
    return sum_edges(t_rowptr, grad, t_col, t_edge, weight, x, protected, grid, noise, mode)


def spmm_quantized_weight_backward(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    scale: Tensor,
    zero_point: Tensor,
    qmin: int,
    qmax: int,
    protected: Tensor | None,
    estimator: str,
    rate: float,
    low: int,
    high: int,
    _rowptr: Tensor,
    col: Tensor,
    row: Tensor,
    *_: Tensor,
) -> Tensor:
    grid, noise = grid_values(scale, zero_point, qmin, qmax, estimator), noise_values(rate, low, high)
    return dot_edges(row, col, grad, x, weight, protected, grid, noise, PLAIN if estimator == "ste" else MASKED)
