"""Operations on `SparseRows` by operations on their values; `dqrun.kernels` documents them.

A product with a weight is a sum over values: `spmm` from columns to rows. Sums over the edges of a graph have a value
wherever a neighbour or the node itself has one; these positions are computed once per graph. Elements that are not
stored are zero, and every grid contains zero: rounding does not change them, and ranges count them. Dropout and noise
hash the index of a value among the values, not in the matrix: the draws have the same distribution as for a dense
tensor, but differ from them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from dqrun.graphs import CSR, SparseRows, Sparsity

T = TypeVar("T")
FEW_TERMS = 1 / 8  # of a sum over edges, for each element of the matrix


@dataclass(frozen=True)
class Neighbours:
    """The sums over a graph's edges of rows with values at some places: U values.

    `where`: their places. `terms`: an edge from each value to each sum that it is a term of (source: one of the K
    values, target: one of the U). `own` int64 [K]: which of the U stands at the place of each of the K.
    """

    where: Sparsity
    terms: CSR
    own: Tensor


def neighbours(csr: CSR, x: SparseRows) -> Neighbours:
    """The neighbours of x in a graph; computed at the first call for both and then kept."""
    return _once(_neighbours, csr, x.where)


def sums_pay(csr: CSR, x: SparseRows) -> bool:
    """Whether sums over edges have so few terms that sparse rows are faster and smaller than a dense tensor."""
    return _once(_num_terms, csr, x.where) <= FEW_TERMS * x.numel()


def _once(make: Callable[[CSR, Sparsity], T], csr: CSR, where: Sparsity) -> T:
    """make(csr, where), cached in `where`; the graph is kept too, so that its id is not reused."""
    key = make.__name__, id(csr)
    if key not in where.known:
        where.known[key] = csr, make(csr, where)
    found: T = where.known[key][1]
    return found


def _values_of_edges(csr: CSR, where: Sparsity) -> Tensor:
    """How many values each edge carries, int64 [E]."""
    return where.places.in_degree[csr.col]


def _num_terms(csr: CSR, where: Sparsity) -> int:
    return int(_values_of_edges(csr, where).sum())


def _neighbours(csr: CSR, where: Sparsity) -> Neighbours:
    places, width, counts = where.places, where.num_columns, _values_of_edges(csr, where)
    edge = torch.arange(csr.num_edges, device=csr.col.device).repeat_interleave(counts)
    within = torch.arange(edge.numel(), device=edge.device) - (counts.cumsum(0) - counts)[edge]
    value = places.rowptr[csr.col][edge] + within
    place = torch.cat([csr.row[edge] * width + places.col[value], places.row * width + places.col])
    place, index = torch.unique(place, return_inverse=True)  # ascending: row by row
    sums = CSR.from_edge_index(torch.stack([place % width, place // width]), csr.num_nodes, width)
    target, own = index[: edge.numel()], index[edge.numel() :]
    terms = CSR.from_edge_index(torch.stack([value, target]), place.numel(), places.num_edges)
    return Neighbours(Sparsity(sums, width), terms, own)


def of_values(x: SparseRows, of_row: Tensor | None) -> Tensor | None:
    """The values of each row, [N], repeated for each stored value, [K]."""
    return None if of_row is None else of_row[x.where.places.row]


def multiset(x: SparseRows, row_weight: Tensor | None, protected: Tensor | None) -> tuple[Tensor, Tensor]:
    """Values [K + 1, 1], the last one a zero for all that are not stored, and how often each counts, int64 [K + 1]."""
    if row_weight is None:
        row_weight = torch.ones_like(x.where.zeros_of_row)
    if protected is not None:
        row_weight = row_weight.masked_fill(protected, 0)
    zeros = (row_weight * x.where.zeros_of_row).sum().view(1)
    values = torch.cat([x.values, x.values.new_zeros(1)])
    return values.unsqueeze(1), torch.cat([row_weight[x.where.places.row], zeros])
