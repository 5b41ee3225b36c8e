"""`edge_add`; `edge_softmax` over the edges of a target; sums and maxima over the nodes of a graph.

Each part takes whole segments, chosen so that all parts have about equally many rows.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from dqrun.kernels.cpu.aggregate import sum_edges
from dqrun.kernels.cpu.launch import Array, array, empty_like, first_at_least, inner, kernel, parts, rows, share


@inner
def _segments(ptr: Array, part: int, num_parts: int) -> tuple[int, int]:
    """The segments that start in a part's share of the rows."""
    first, last = share(part, num_parts, ptr[-1])
    begin = first_at_least(ptr[:-1], first)
    end = first_at_least(ptr[:-1], last) if part < num_parts - 1 else ptr.size - 1
    return begin, end


@kernel
def _subtract_largest(part: int, num_parts: int, ptr: Array, x: Array, out: Array) -> None:
    """out = x minus the largest value of its segment and column; both [rows, columns]."""
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
def _divide_by_sum(part: int, num_parts: int, ptr: Array, y: Array) -> None:
    """y divided by the sum over its segment, column by column, in place."""
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
def _add_rows(part: int, num_parts: int, col: Array, row: Array, source: Array, target: Array, out: Array) -> None:
    """out[e] = source[col[e]] + target[row[e]]; all [rows, columns]."""
    first, last = share(part, num_parts, col.size)
    for e in range(first, last):
        i, j = col[e], row[e]
        for column in range(out.shape[1]):
            out[e, column] = source[i, column] + target[j, column]


@kernel
def _softmax_backward(part: int, num_parts: int, ptr: Array, y: Array, grad: Array, out: Array) -> None:
    """out = y * (grad - sum of y * grad over the segment), column by column."""
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
def _first_largest(part: int, num_parts: int, ptr: Array, x: Array, out: Array, position: Array) -> None:
    """Largest value and the first row that has it, of each segment and column; 0 and no row for an empty one."""
    begin, end = _segments(ptr, part, num_parts)
    for segment in range(begin, end):
        start = ptr[segment]
        empty = start == ptr[segment + 1]
        for column in range(x.shape[1]):
            out[segment, column] = np.float32(0) if empty else x[start, column]
            position[segment, column] = x.shape[0] if empty else start
        for row in range(start + 1, ptr[segment + 1]):
            for column in range(x.shape[1]):
                value, best = x[row, column], out[segment, column]
                if value > best or (np.isnan(value) and not np.isnan(best)):
                    out[segment, column], position[segment, column] = value, row


def edge_add(source: Tensor, target: Tensor, _rowptr: Tensor, col: Tensor, row: Tensor, *_: Tensor) -> Tensor:
    y = torch.empty(col.numel(), source.size(1))
    _add_rows(parts(y.numel()), array(col), array(row), rows(source), rows(target), y.numpy())
    return y


def edge_add_backward(
    grad: Tensor, rowptr: Tensor, _col: Tensor, _row: Tensor, t_rowptr: Tensor, _t_col: Tensor, t_edge: Tensor
) -> tuple[Tensor, Tensor]:
    return sum_edges(t_rowptr, grad, t_edge), sum_edges(rowptr, grad)


def edge_softmax(logits: Tensor, rowptr: Tensor, *_: Tensor) -> Tensor:
    y = empty_like(logits)
    if y.numel():
        _subtract_largest(parts(y.numel()), array(rowptr), rows(logits), y.numpy())
        y.exp_()  # torch's is vectorised, numba's is not
        _divide_by_sum(parts(y.numel()), array(rowptr), y.numpy())
    return y


def edge_softmax_backward(grad: Tensor, y: Tensor, rowptr: Tensor, *_: Tensor) -> Tensor:
    out = empty_like(y)
    if y.numel():
        _softmax_backward(parts(y.numel()), array(rowptr), rows(y), rows(grad), out.numpy())
    return out


def segment_sum(x: Tensor, ptr: Tensor) -> Tensor:
    return sum_edges(ptr, x)


def segment_max(x: Tensor, ptr: Tensor) -> tuple[Tensor, Tensor]:
    y = torch.empty(ptr.numel() - 1, x.size(1))
    position = torch.empty(y.shape, dtype=torch.int64)
    _first_largest(parts(x.numel()), array(ptr), rows(x), y.numpy(), position.numpy())
    return y, position
