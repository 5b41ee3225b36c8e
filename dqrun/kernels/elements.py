"""Functions without an operator: any function of each element of rows, or of each message of edges."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import torch
from torch import Tensor

from dqrun.graphs import CSR, Rows, SparseRows
from dqrun.kernels import sparse

R = TypeVar("R", bound=Rows)
Elementwise = Callable[[Tensor], Tensor]


def mapped(x: Rows, f: Elementwise, protected: Tensor | None = None, keeps_zero: bool = True) -> Rows:
    """f of each element, same shape; f takes a float32 tensor of any shape, and gradients pass through it.

    protected: bool [N] or None, rows that stay as they are. Sparse rows become a tensor unless `keeps_zero`: f(0) = 0.
    """
    if isinstance(x, SparseRows):
        if keeps_zero:
            return x.with_values(mapped_dense(x.values, f, sparse.of_values(x, protected)))
        x = x.to_dense()
    return mapped_dense(x, f, protected)


def mapped_dense(x: Tensor, f: Elementwise, protected: Tensor | None) -> Tensor:
    """`mapped` of a tensor."""
    if protected is None:
        return f(x)
    return torch.where(protected.view(-1, *[1] * (x.dim() - 1)), x, f(x))


def mapped_messages(
    csr: CSR, x: Tensor, weight: Tensor | None, f: Elementwise, protected: Tensor | None = None
) -> Tensor:
    """Sums over incoming edges of f of the messages weight[e] * x[col[e]]; arguments as in `kernels.spmm_quantized`.

    Makes a tensor of all messages; operators written for one function, such as `spmm_quantized`, do not.
    """
    messages = x.index_select(0, csr.col)
    messages = messages if weight is None else messages * weight.unsqueeze(-1)
    given = mapped_dense(messages, f, None if protected is None else protected[csr.col])
    return x.new_zeros(csr.num_nodes, *x.shape[1:]).index_add(0, csr.row, given)


def times_columns(x: R, factor: Tensor) -> R:
    """x diag(factor), for rows [N, C] and factor [C]; or any factor that broadcasts to a tensor x."""
    if isinstance(x, SparseRows):
        return cast(R, x.with_values(x.values * factor[x.where.places.col]))
    return cast(R, x * factor)


def column_sizes(x: Rows) -> Tensor:
    """The largest absolute value of each column, [C]; 0 of a column without a row."""
    x = x.detach() if isinstance(x, Tensor) else x
    if isinstance(x, SparseRows):
        empty = x.values.new_zeros(x.where.num_columns)
        return empty.scatter_reduce(0, x.where.places.col, x.values.detach().abs(), "amax")
    return x.abs().amax(0) if x.size(0) else x.new_zeros(x.size(1))


def sample(x: Rows, most: int, row_weight: Tensor | None = None, protected: Tensor | None = None) -> Tensor:
    """At most `most` of the elements that count for the range of x, evenly chosen by position; 1-d, no gradient.

    row_weight, protected: as in `kernels.tail_range`. The zeros that sparse rows leave out are left out here too.
    """
    if isinstance(x, SparseRows):
        weight = None if row_weight is None else row_weight[x.where.places.row]
        return sample(x.values.unsqueeze(1), most, weight, sparse.of_values(x, protected))
    rows = torch.arange(x.size(0), device=x.device)
    if row_weight is not None or protected is not None:
        counts = torch.ones_like(rows) if row_weight is None else row_weight
        rows = rows.repeat_interleave(counts if protected is None else counts.masked_fill(protected, 0))
    chosen = evenly(rows, most // max(1, x[:1].numel()))
    return evenly(x.detach().index_select(0, chosen).flatten(), most)


def sample_messages(csr: CSR, x: Tensor, weight: Tensor | None, most: int, protected: Tensor | None = None) -> Tensor:
    """`sample` of the messages weight[e] * x[col[e]]; protected: sources whose messages do not count."""
    edges = torch.arange(csr.num_edges, device=csr.col.device)
    edges = edges if protected is None else edges[~protected[csr.col]]
    edges = evenly(edges, most // max(1, x[:1].numel()))
    messages = x.detach().index_select(0, csr.col[edges])
    messages = messages if weight is None else messages * weight.detach()[edges].unsqueeze(-1)
    return evenly(messages.flatten(), most)


def evenly(x: Tensor, most: int) -> Tensor:
    """At most `most` (and at least one) of the elements of a 1-d tensor, at equal distances."""
    return x[:: max(1, -(-x.numel() // max(1, most)))]
