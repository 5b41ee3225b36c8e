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

from dqrun.graphs import CSR
from dqrun.kernels.cpu.edge_dots import dot_edges
from dqrun.kernels.cpu.edge_terms import MASKED, NO_GRID, PLAIN, ROUNDED, Terms, add_edges, terms_of
from dqrun.kernels.cpu.grids import GridValues, grid_values
from dqrun.kernels.cpu.launch import Array, array, first_at_least, kernel, parts, share
from dqrun.kernels.cpu.noise import NoiseValues, noise_values
from dqrun.kernels.cpu.pointers import pointers
from dqrun.kernels.cpu.steps import message_step_gradient
from dqrun.kernels.noise import Noise

NO_NOISE = noise_values(None)


@kernel
def _aggregate(
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
    noise: NoiseValues = NO_NOISE,
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
        _aggregate(array(rowptr), terms, grid, noise, num_edges, np.float32(self_weight), rows, carry, carry_row)
        for part in (carry_row >= 0).nonzero()[0]:
            rows[carry_row[part]] += carry[part]
    return out


class _Spmm(torch.autograd.Function):
    """grid None: plain messages; else rounded ones, whose gradient is masked unless the estimator passes all."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        csr: CSR,
        protected: Tensor | None,
        grid: GridValues | None,
        estimator: str,
        scale: Tensor | None,
        noise: Noise | None,
    ) -> Tensor:
        mode = PLAIN if grid is None or estimator == "ste" else MASKED
        ctx.csr, ctx.protected, ctx.grid, ctx.noise, ctx.mode = csr, protected, grid or NO_GRID, noise, mode
        needs_x = mode == MASKED or (weight is not None and ctx.needs_input_grad[1]) or ctx.needs_input_grad[6]
        ctx.save_for_backward(x if needs_x else None, weight)
        forward_mode = PLAIN if grid is None else ROUNDED
        values = noise_values(noise)
        return sum_edges(csr.rowptr, x, csr.col, None, weight, None, protected, ctx.grid, values, forward_mode)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        csr, protected, grid, mode, noise = ctx.csr, ctx.protected, ctx.grid, ctx.mode, noise_values(ctx.noise)
        grad_x = grad_weight = grad_scale = None
        if ctx.needs_input_grad[0]:
            own = x if mode == MASKED else None
            grad_x = sum_edges(csr.t_rowptr, grad, csr.t_col, csr.t_edge, weight, own, protected, grid, noise, mode)
        if ctx.needs_input_grad[1]:
            grad_weight = dot_edges(csr, grad, x, weight, protected, grid, noise, mode)
        if ctx.needs_input_grad[6]:
            grad_scale = message_step_gradient(csr, grad, x, weight, protected, grid, ctx.noise)
        return grad_x, grad_weight, None, None, None, None, grad_scale, None


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
    y: Tensor = _Spmm.apply(x, weight, csr, None, None, "ste", None, None)  # type: ignore[no-untyped-call]
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
    protected: Tensor | None = None,
    estimator: str = "ste",
    noise: Noise | None = None,
) -> Tensor:
    grid = grid_values(scale, zero_point, qmin, qmax, estimator)
    y: Tensor = _Spmm.apply(x, weight, csr, protected, grid, estimator, scale, noise)  # type: ignore[no-untyped-call]
    return y
