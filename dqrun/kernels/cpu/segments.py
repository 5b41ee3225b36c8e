"""What edges compute: `edge_add`, `edge_softmax` over the edges of a target; `segment_reduce` over a graph's nodes.

Each part takes whole segments, chosen so that all parts have about equally many rows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numba import prange
from torch import Tensor
from torch.autograd.function import once_differentiable

from dqrun.graphs import CSR
from dqrun.kernels.cpu.aggregate import sum_edges
from dqrun.kernels.cpu.launch import Array, array, first_at_least, inner, kernel, parts, share


@inner
def _segments(ptr: Array, part: int, num_parts: int) -> tuple[int, int]:
    """The segments that start in a part's share of the rows."""
    first, last = share(part, num_parts, ptr[-1])
    begin = first_at_least(ptr[:-1], first)
    end = first_at_least(ptr[:-1], last) if part < num_parts - 1 else ptr.size - 1
    return begin, end


@kernel
def _subtract_largest(ptr: Array, x: Array, out: Array, num_parts: int) -> None:
    """out = x minus the largest value of its segment and column; both [rows, columns]."""
    for part in prange(num_parts):
        begin, end = _segments(ptr, part, num_parts)
        largest = np.empty(x.shape[1], np.float32)
        for segment in range(begin, end):
            largest[:] = -np.inf
            for row in range(ptr[segment], ptr[segment + 1]):
                for column in range(x.shape[1]):
                    largest[column] = max(largest[column], x[row, column])
            for row in range(ptr[segment], ptr[segment + 1]):
                for column in range(x.shape[1]):
                    out[row, column] = x[row, column] - largest[column]


@kernel
def _divide_by_sum(ptr: Array, y: Array, num_parts: int) -> None:
    """y divided by the sum over its segment, column by column, in place."""
    for part in prange(num_parts):
        begin, end = _segments(ptr, part, num_parts)
        total = np.empty(y.shape[1], np.float32)
        for segment in range(begin, end):
            total[:] = 0
            for row in range(ptr[segment], ptr[segment + 1]):
                for column in range(y.shape[1]):
                    total[column] += y[row, column]
            for row in range(ptr[segment], ptr[segment + 1]):
                for column in range(y.shape[1]):
                    y[row, column] /= total[column]


@kernel
def _add_rows(col: Array, row: Array, source: Array, target: Array, out: Array, num_parts: int) -> None:
    """out[e] = source[col[e]] + target[row[e]]; all [rows, columns]."""
    for part in prange(num_parts):
        first, last = share(part, num_parts, col.size)
        for e in range(first, last):
            i, j = col[e], row[e]
            for column in range(out.shape[1]):
                out[e, column] = source[i, column] + target[j, column]


@kernel
def _softmax_backward(ptr: Array, y: Array, grad: Array, out: Array, num_parts: int) -> None:
    """out = y * (grad - sum of y * grad over the segment), column by column."""
    for part in prange(num_parts):
        begin, end = _segments(ptr, part, num_parts)
        total = np.empty(y.shape[1], np.float32)
        for segment in range(begin, end):
            total[:] = 0
            for row in range(ptr[segment], ptr[segment + 1]):
                for column in range(y.shape[1]):
                    total[column] += y[row, column] * grad[row, column]
            for row in range(ptr[segment], ptr[segment + 1]):
                for column in range(y.shape[1]):
                    out[row, column] = y[row, column] * (grad[row, column] - total[column])


@kernel
def _first_largest(ptr: Array, x: Array, out: Array, position: Array, num_parts: int) -> None:
    """Largest value and the first row that has it, of each segment and column; 0 and -1 for an empty one."""
    for part in prange(num_parts):
        begin, end = _segments(ptr, part, num_parts)
        for segment in range(begin, end):
            start = ptr[segment]
            empty = start == ptr[segment + 1]
            for column in range(x.shape[1]):
                out[segment, column] = np.float32(0) if empty else x[start, column]
                position[segment, column] = -1 if empty else start
            for row in range(start + 1, ptr[segment + 1]):
                for column in range(x.shape[1]):
                    value, best = x[row, column], out[segment, column]
                    if value > best or (np.isnan(value) and not np.isnan(best)):
                        out[segment, column], position[segment, column] = value, row


class _EdgeAdd(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, source: Tensor, target: Tensor, csr: CSR) -> Tensor:
        ctx.csr = csr
        y = torch.empty(csr.num_edges, source.size(1))
        rows = source.contiguous().numpy(), target.contiguous().numpy()
        _add_rows(array(csr.col), array(csr.row), *rows, y.numpy(), parts(y.numel()))
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        csr = ctx.csr
        return sum_edges(csr.t_rowptr, grad, csr.t_edge), sum_edges(csr.rowptr, grad), None


class _EdgeSoftmax(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, csr: CSR) -> Tensor:
        logits = logits.contiguous()
        y = torch.empty(logits.shape)
        if y.numel():
            _subtract_largest(array(csr.rowptr), logits.detach().numpy(), y.numpy(), parts(y.numel()))
            y.exp_()  # torch's is vectorised, numba's is not
            _divide_by_sum(array(csr.rowptr), y.numpy(), parts(y.numel()))
        ctx.csr = csr
        ctx.save_for_backward(y)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (y,) = ctx.saved_tensors
        out = torch.empty(y.shape)
        if y.numel():
            values, gradient = y.detach().numpy(), grad.contiguous().numpy()
            _softmax_backward(array(ctx.csr.rowptr), values, gradient, out.numpy(), parts(y.numel()))
        return out, None


class _SegmentMax(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, ptr: Tensor) -> Tensor:
        x = x.contiguous()
        y = torch.empty(ptr.numel() - 1, x.size(1))
        position = torch.empty(y.shape, dtype=torch.int64)
        _first_largest(array(ptr), x.detach().numpy(), y.numpy(), position.numpy(), parts(x.numel()))
        ctx.num_rows = x.size(0)
        ctx.save_for_backward(position)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (position,) = ctx.saved_tensors
        out = torch.zeros(ctx.num_rows + 1, grad.size(1))  # the last row takes what empty segments send
        out.scatter_(0, position.where(position >= 0, ctx.num_rows), grad)
        return out[:-1], None


class _SegmentSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, ptr: Tensor) -> Tensor:
        ctx.sizes, ctx.num_rows = ptr.diff(), x.size(0)
        return sum_edges(ptr, x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return grad.repeat_interleave(ctx.sizes, 0, output_size=ctx.num_rows), None


def edge_add(csr: CSR, source: Tensor, target: Tensor) -> Tensor:
    y: Tensor = _EdgeAdd.apply(source, target, csr)  # type: ignore[no-untyped-call]
    return y


def edge_softmax(csr: CSR, logits: Tensor) -> Tensor:
    y: Tensor = _EdgeSoftmax.apply(logits, csr)  # type: ignore[no-untyped-call]
    return y


def segment_reduce(x: Tensor, ptr: Tensor, mode: str) -> Tensor:
    reduce = _SegmentMax if mode == "max" else _SegmentSum
    y: Tensor = reduce.apply(x, ptr)  # type: ignore[no-untyped-call]
    return y / ptr.diff().clamp(min=1).unsqueeze(-1) if mode == "mean" else y
