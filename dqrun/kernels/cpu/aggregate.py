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
from dqrun.kernels.cpu.launch import (
    NO_FLAGS,
    NO_FLOATS,
    NO_INTEGERS,
    Array,
    array,
    inner,
    inner_sum,
    kernel,
    optional,
    parts,
    share,
)
from dqrun.kernels.cpu.rounding import GridValues, grid_values, passes, round_to_grid

PLAIN, ROUNDED, MASKED = 0, 1, 2  # terms: w * x[c]; w * x[c] rounded; w * x[c] where the gradient of w * own[i] passes
NO_GRID: GridValues = (np.float32(0),) * 7


@inner
def _add(total: Array, x: Array, weight: Any) -> None:
    for f in range(x.size):
        total[f] += weight * x[f]


@inner
def _add_rounded(total: Array, x: Array, weight: Any, grid: GridValues) -> None:
    for f in range(x.size):
        total[f] += round_to_grid(weight * x[f], grid)


@inner
def _add_masked(total: Array, x: Array, own: Array, weight: Any, grid: GridValues) -> None:
    for f in range(x.size):
        term = weight * x[f]
        total[f] += term if passes(weight * own[f], grid) else np.float32(0)


@inner
def _add_edges(
    total: Array,
    row: int,
    first: int,
    last: int,
    col: Array,
    edge: Array,
    weight: Array,
    x: Array,
    own: Array,
    keep: Array,
    grid: GridValues,
    mode: int,
    heads: int,
) -> None:
    """Adds the terms of the edges first..last of a row to its total [heads * channels]."""
    channels = total.size // heads
    for position in range(first, last):
        source = col[position] if col.size else position
        index = edge[position] if edge.size else position
        exact = mode == PLAIN or (keep.size > 0 and keep[source if mode == ROUNDED else row])
        for head in range(heads):
            w = weight[index * heads + head] if weight.size else np.float32(1)
            start = (source * heads + head) * channels
            part = total[head * channels : (head + 1) * channels]
            if exact:
                _add(part, x[start : start + channels], w)
            elif mode == ROUNDED:
                _add_rounded(part, x[start : start + channels], w, grid)
            else:
                own_start = (row * heads + head) * channels
                _add_masked(part, x[start : start + channels], own[own_start : own_start + channels], w, grid)


@kernel
def _aggregate(
    rowptr: Array,
    col: Array,
    edge: Array,
    weight: Array,
    x: Array,
    own: Array,
    keep: Array,
    grid: GridValues,
    mode: int,
    heads: int,
    out: Array,
    num_parts: int,
) -> None:
    """Row i of out [N, heads * channels] = sum of the terms of the edges rowptr[i]..rowptr[i + 1].

    col [E]: the row of x of each edge (empty: its position). edge [E]: its place in weight (empty: its position).
    """
    num_rows, num_edges = rowptr.size - 1, rowptr[-1]
    carry = np.zeros((num_parts, out.shape[1]), np.float32)  # a part's terms for the row that an earlier part began
    carry_row = np.full(num_parts, -1, np.int64)
    for part in prange(num_parts):
        first, last = share(part, num_parts, num_edges)
        row = np.searchsorted(rowptr[:num_rows], first) if part else 0  # the first row that starts here
        if rowptr[row] > first:
            stop = min(rowptr[row], last)
            carry_row[part] = row - 1
            _add_edges(
                carry[part], row - 1, first, stop, col, edge, weight, x, own, keep, grid, mode, heads
            )
        while row < num_rows and (rowptr[row] < last or part == num_parts - 1):
            out[row, :] = 0
            stop = min(rowptr[row + 1], last)
            _add_edges(out[row], row, rowptr[row], stop, col, edge, weight, x, own, keep, grid, mode, heads)
            row += 1
    for part in range(num_parts):
        if carry_row[part] >= 0:
            out[carry_row[part]] += carry[part]


@inner_sum
def _dot(a: Array, b: Array) -> Any:
    total = np.float32(0)
    for f in range(a.size):
        total += a[f] * b[f]
    return total


@inner_sum
def _dot_masked(a: Array, b: Array, weight: Any, grid: GridValues) -> Any:
    total = np.float32(0)
    for f in range(a.size):
        term = a[f] * b[f]
        total += term if passes(weight * b[f], grid) else np.float32(0)
    return total


@kernel
def _edge_dots(
    row: Array,
    col: Array,
    weight: Array,
    grad: Array,
    x: Array,
    keep: Array,
    grid: GridValues,
    mode: int,
    heads: int,
    channels: int,
    out: Array,
    num_parts: int,
) -> None:
    """out[e, h] = sum over channels of grad[row[e], h] * x[col[e], h], of those whose gradient passes."""
    for part in prange(num_parts):
        first, last = share(part, num_parts, col.size)
        for e in range(first, last):
            exact = mode == PLAIN or (keep.size > 0 and keep[col[e]])
            for head in range(heads):
                a, b = (row[e] * heads + head) * channels, (col[e] * heads + head) * channels
                at_target, at_source = grad[a : a + channels], x[b : b + channels]
                if exact:
                    out[e * heads + head] = _dot(at_target, at_source)
                else:
                    out[e * heads + head] = _dot_masked(at_target, at_source, weight[e * heads + head], grid)


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
) -> Tensor:
    """`_aggregate` on tensors: x [M, F] or [M, H, C] to [N, F] or [N, H, C], N = rowptr.numel() - 1."""
    heads = x.size(1) if x.dim() == 3 else 1
    out = torch.empty(rowptr.numel() - 1, *x.shape[1:])
    if out.numel():
        num_edges = x.size(0) if col is None else col.numel()
        _aggregate(
            array(rowptr),
            optional(col, NO_INTEGERS),
            optional(edge, NO_INTEGERS),
            optional(weight, NO_FLOATS),
            array(x),
            optional(own, NO_FLOATS),
            optional(keep, NO_FLAGS),
            grid,
            mode,
            heads,
            out.view(out.size(0), -1).numpy(),
            parts(num_edges * x[0].numel() if num_edges else 0),
        )
    return out


def _dot_edges(
    csr: CSR, grad: Tensor, x: Tensor, weight: Tensor, keep: Tensor | None, grid: GridValues, mode: int
) -> Tensor:
    out = torch.empty(weight.shape)
    if out.numel():
        heads = x.size(1) if x.dim() == 3 else 1
        _edge_dots(
            array(csr.row),
            array(csr.col),
            array(weight),
            array(grad),
            array(x),
            optional(keep, NO_FLAGS),
            grid,
            mode,
            heads,
            x.size(-1),
            array(out),
            parts(out.numel() * x.size(-1)),
        )
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
    ) -> Tensor:
        mode = PLAIN if grid is None or estimator == "ste" else MASKED
        ctx.csr, ctx.keep, ctx.grid, ctx.mode, ctx.shape = csr, keep, grid or NO_GRID, mode, x.shape
        needs_x = mode == MASKED or (weight is not None and ctx.needs_input_grad[1])
        ctx.save_for_backward(x if needs_x else None, weight)
        forward_mode = PLAIN if grid is None else ROUNDED
        return sum_edges(csr.rowptr, x, csr.col, None, weight, None, keep, ctx.grid, forward_mode)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        csr, keep, grid, mode = ctx.csr, ctx.keep, ctx.grid, ctx.mode
        grad_x = grad_weight = None
        if ctx.needs_input_grad[0]:
            own = x if mode == MASKED else None
            grad_x = sum_edges(csr.t_rowptr, grad, csr.t_col, csr.t_edge, weight, own, keep, grid, mode)
        if ctx.needs_input_grad[1]:
            grad_weight = _dot_edges(csr, grad, x, weight, keep, grid, mode)
        return grad_x, grad_weight, None, None, None, None


def spmm(csr: CSR, x: Tensor, weight: Tensor | None = None) -> Tensor:
    y: Tensor = _Spmm.apply(x, weight, csr, None, None, "ste")  # type: ignore[no-untyped-call]
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
    y: Tensor = _Spmm.apply(x, weight, csr, keep, grid, estimator)  # type: ignore[no-untyped-call]
    return y
