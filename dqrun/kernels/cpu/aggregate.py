"""Sums over edges: `spmm` and `spmm_quantized`, forward and backward, without a tensor of messages.

Every sum is one kernel, `_aggregate`: row i of the result collects its edges' terms. Edges are split evenly over
threads; a row that crosses a boundary is begun by the part in which it starts, what later parts contribute is added
after all are done, in order. A hub with half of all edges costs no more than its share.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numba import prange
from torch import Tensor
from torch.autograd.function import once_differentiable

from dqrun.graph import CSR
from dqrun.kernels.cpu.grids import GridValues, grid_values, passes, round_to_grid
from dqrun.kernels.cpu.launch import (
    NO_FLAGS,
    NO_FLOATS,
    NO_INTEGERS,
    Array,
    array,
    first_at_least,
    inner,
    inner_sum,
    kernel,
    optional,
    parts,
    share,
)
from dqrun.kernels.cpu.pointers import pointers
from dqrun.kernels.cpu.steps import message_step_gradient

PLAIN, ROUNDED, MASKED = 0, 1, 2  # terms: w * x[c]; w * x[c] rounded; w * x[c] where the gradient of w * own[i] passes
NO_GRID: GridValues = (np.float32(0),) * 7

# What the terms are made of. col [E]: the row of x of each edge (empty: its position); edge [E]: its place in weight
# (empty: its position); weight [E * heads] (empty: ones); x and own, flat; keep [N] (empty: none); mode; heads.
Terms = tuple[Array, Array, Array, Array, Array, Array, int, int]


@inner
def _add(total: Any, place: int, x: Any, start: int, size: int, weight: Any) -> None:
    for f in range(size):
        total[place + f] += weight * x[start + f]


@inner
def _add_rounded(total: Any, place: int, x: Any, start: int, size: int, weight: Any, grid: GridValues) -> None:
    for f in range(size):
        total[place + f] += round_to_grid(weight * x[start + f], grid)


@inner
def _add_masked(
    total: Any, place: int, x: Any, start: int, size: int, weight: Any, own: Any, own_start: int, grid: GridValues
) -> None:
    for f in range(size):
        term = weight * x[start + f]
        total[place + f] += term if passes(weight * own[own_start + f], grid) else np.float32(0)


@inner
def _add_edges(
    total: Any, place: int, width: int, row: int, first: int, last: int, at: Any, has: Any, grid: GridValues
) -> None:
    """Adds the terms of the edges first..last of a row to its total, `width` values from `place` on.

    at: pointers(terms); has: whether there is a col, an edge, a weight, a keep.
    """
    col, edge, weight, x, own, keep, mode, heads = at
    channels = width // heads
    for position in range(first, last):
        source = col[position] if has[0] else position
        index = edge[position] if has[1] else position
        exact = mode == PLAIN or (has[3] and keep[source if mode == ROUNDED else row] != 0)
        for head in range(heads):
            w = weight[index * heads + head] if has[2] else np.float32(1)
            start, into = (source * heads + head) * channels, place + head * channels
            if exact:
                _add(total, into, x, start, channels, w)
            elif mode == ROUNDED:
                _add_rounded(total, into, x, start, channels, w, grid)
            else:
                _add_masked(total, into, x, start, channels, w, own, (row * heads + head) * channels, grid)


@kernel
def _aggregate(
    rowptr: Array,
    terms: Terms,
    grid: GridValues,
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
    num_rows, num_parts, width = rowptr.size - 1, carry_row.size, out.shape[1]
    at, (out_at, carry_at) = pointers(terms), pointers((out, carry))
    has = terms[0].size > 0, terms[1].size > 0, terms[2].size > 0, terms[5].size > 0
    x = at[3]
    for part in prange(num_parts):
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
            _add_edges(total, place, width, row, begin, end, at, has, grid)
            row += 1


@inner_sum
def _dot(a: Any, i: int, b: Any, j: int, size: int) -> Any:
    total = np.float32(0)
    for f in range(size):
        total += a[i + f] * b[j + f]
    return total


@inner_sum
def _dot_masked(a: Any, i: int, b: Any, j: int, size: int, weight: Any, grid: GridValues) -> Any:
    total = np.float32(0)
    for f in range(size):
        term = a[i + f] * b[j + f]
        total += term if passes(weight * b[j + f], grid) else np.float32(0)
    return total


@kernel
def _edge_dots(
    row: Array, grad: Array, terms: Terms, grid: GridValues, channels: int, out: Array, num_parts: int
) -> None:
    """out[e, h] = sum over channels of grad[row[e], h] * x[col[e], h], of those whose gradient passes."""
    col, _, weight, x, _, keep, mode, heads = pointers(terms)
    row_at, grad_at, out_at = pointers((row, grad, out))
    num_edges, has_keep = terms[0].size, terms[5].size > 0
    for part in prange(num_parts):
        first, last = share(part, num_parts, num_edges)
        for e in range(first, last):
            target, source = row_at[e], col[e]
            exact = mode == PLAIN or (has_keep and keep[source] != 0)
            for head in range(heads):
                i, j = (target * heads + head) * channels, (source * heads + head) * channels
                if exact:
                    out_at[e * heads + head] = _dot(grad_at, i, x, j, channels)
                else:
                    w = weight[e * heads + head]
                    out_at[e * heads + head] = _dot_masked(grad_at, i, x, j, channels, w, grid)


def _terms(
    x: Tensor,
    col: Tensor | None,
    edge: Tensor | None,
    weight: Tensor | None,
    own: Tensor | None,
    keep: Tensor | None,
    mode: int,
) -> Terms:
    integers = optional(col, NO_INTEGERS), optional(edge, NO_INTEGERS)
    floats = optional(weight, NO_FLOATS), array(x), optional(own, NO_FLOATS)
    return (*integers, *floats, optional(keep, NO_FLAGS).view(np.uint8), mode, x.size(1) if x.dim() == 3 else 1)


def sum_edges(
    rowptr: Tensor,
    x: Tensor,
    col: Tensor | None = None,
    edge: Tensor | None = None,
    weight: Tensor | None = None,
    own: Tensor | None = None,
    keep: Tensor | None = None,
    grid: GridValues = NO_GRID,
    mode: int = PLAIN,
    self_weight: float = 0.0,
) -> Tensor:
    """`_aggregate` on tensors: x [M, F] or [M, H, C] to [N, F] or [N, H, C], N = rowptr.numel() - 1.

    self_weight other than 0: M = N.
    """
    out = torch.empty(rowptr.numel() - 1, *x.shape[1:])
    if out.numel():
        num_edges = x.size(0) if col is None else col.numel()
        terms = _terms(x, col, edge, weight, own, keep, mode)
        rows = out.view(out.size(0), -1).numpy()
        num_parts = parts(num_edges * rows.shape[1])
        carry, carry_row = np.empty((num_parts, rows.shape[1]), np.float32), np.empty(num_parts, np.int64)
        _aggregate(array(rowptr), terms, grid, num_edges, np.float32(self_weight), rows, carry, carry_row)
        for part in (carry_row >= 0).nonzero()[0]:
            rows[carry_row[part]] += carry[part]
    return out


def _dot_edges(
    csr: CSR, grad: Tensor, x: Tensor, weight: Tensor, keep: Tensor | None, grid: GridValues, mode: int
) -> Tensor:
    """The gradient of the weights."""
    out = torch.empty(weight.shape)
    if out.numel():
        terms, channels = _terms(x, csr.col, None, weight, None, keep, mode), x.size(-1)
        _edge_dots(array(csr.row), array(grad), terms, grid, channels, array(out), parts(out.numel() * channels))
    return out


class _Spmm(torch.autograd.Function):
    """grid None: plain messages; else rounded ones, whose gradient is masked unless the estimator passes all."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        csr: CSR,
        keep: Tensor | None,
        grid: GridValues | None,
        estimator: str,
        scale: Tensor | None,
    ) -> Tensor:
        mode = PLAIN if grid is None or estimator == "ste" else MASKED
        ctx.csr, ctx.keep, ctx.grid, ctx.mode, ctx.shape = csr, keep, grid or NO_GRID, mode, x.shape
        needs_x = mode == MASKED or (weight is not None and ctx.needs_input_grad[1]) or ctx.needs_input_grad[6]
        ctx.save_for_backward(x if needs_x else None, weight)
        forward_mode = PLAIN if grid is None else ROUNDED
        return sum_edges(csr.rowptr, x, csr.col, None, weight, None, keep, ctx.grid, forward_mode)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        csr, keep, grid, mode = ctx.csr, ctx.keep, ctx.grid, ctx.mode
        grad_x = grad_weight = grad_scale = None
        if ctx.needs_input_grad[0]:
            own = x if mode == MASKED else None
            grad_x = sum_edges(csr.t_rowptr, grad, csr.t_col, csr.t_edge, weight, own, keep, grid, mode)
        if ctx.needs_input_grad[1]:
            grad_weight = _dot_edges(csr, grad, x, weight, keep, grid, mode)
        if ctx.needs_input_grad[6]:
            grad_scale = message_step_gradient(csr, grad, x, weight, keep, grid)
        return grad_x, grad_weight, None, None, None, None, grad_scale


class _SpmmSelf(torch.autograd.Function):
    """Plain messages of weight 1 and a node's own row times a number."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, self_weight: Tensor, csr: CSR) -> Tensor:
        ctx.csr, ctx.self_weight = csr, self_weight.item()
        ctx.save_for_backward(x)
        return sum_edges(csr.rowptr, x, csr.col, self_weight=ctx.self_weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (x,), csr, grad_x = ctx.saved_tensors, ctx.csr, None
        if ctx.needs_input_grad[0]:
            grad_x = sum_edges(csr.t_rowptr, grad, csr.t_col, self_weight=ctx.self_weight)
        return grad_x, torch.dot(grad.reshape(-1), x.reshape(-1)).view(1), None


def spmm(csr: CSR, x: Tensor, weight: Tensor | None = None) -> Tensor:
    y: Tensor = _Spmm.apply(x, weight, csr, None, None, "ste", None)  # type: ignore[no-untyped-call]
    return y


def spmm_self(csr: CSR, x: Tensor, self_weight: Tensor) -> Tensor:
    y: Tensor = _SpmmSelf.apply(x, self_weight, csr)  # type: ignore[no-untyped-call]
    return y


def spmm_quantized(
    csr: CSR,
    x: Tensor,
    weight: Tensor | None,
    scale: Tensor,
    zero_point: Tensor,
    qmin: int,
    qmax: int,
    keep: Tensor | None = None,
    estimator: str = "ste",
) -> Tensor:
    grid = grid_values(scale, zero_point, qmin, qmax, estimator)
    y: Tensor = _Spmm.apply(x, weight, csr, keep, grid, estimator, scale)  # type: ignore[no-untyped-call]
    return y
