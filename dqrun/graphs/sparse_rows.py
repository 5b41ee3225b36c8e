"""`SparseRows`: features that are mostly zero."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from dqrun.graphs.csr import CSR


class Sparsity:
    """The positions of the K stored values of a matrix [N, F]: an edge of `places` per value, from column to row.

    All other elements are zero. `known`: cache of `kernels.sparse` for structures of graphs.
    """

    def __init__(self, places: CSR, num_columns: int) -> None:
        self.places, self.num_columns = places, num_columns
        self.known: dict[tuple[str, int], tuple[CSR, Any]] = {}

    @cached_property
    def zeros_of_row(self) -> Tensor:
        """Number of elements of each row that are not stored, int64 [N]."""
        return self.num_columns - self.places.in_degree


@dataclass(frozen=True)
class SparseRows:
    """A matrix [N, F] as its `values`, float32 [K], at the positions `where`, row by row.

    It replaces a tensor from `Batch.x` to the product with the first weight: in a bag of words about one element in a
    hundred is not zero. The functions of `dqrun.kernels` needed up to there take both (`kernels.sparse`).
    """

    values: Tensor
    where: Sparsity

    @classmethod
    def of(cls, x: Tensor) -> SparseRows:
        """The same matrix; x: float32 [N, F]."""
        row, column = x.nonzero(as_tuple=True)
        places = CSR.from_edge_index(torch.stack([column, row]), x.size(0), x.size(1))
        return cls(x[row, column], Sparsity(places, x.size(1)))

    @property
    def shape(self) -> torch.Size:
        return torch.Size((self.where.places.num_nodes, self.where.num_columns))

    def numel(self) -> int:
        return self.shape.numel()

    def size(self, dim: int) -> int:
        return self.shape[dim]

    def with_values(self, values: Tensor) -> SparseRows:
        return replace(self, values=values)

    def relu(self) -> SparseRows:
        return self.with_values(self.values.relu())

    def to_dense(self) -> Tensor:
        """float32 [N, F]."""
        places = self.where.places
        zeros = self.values.new_zeros(self.shape)
        return zeros.index_put((places.row, places.col), self.values)


Rows = Tensor | SparseRows
SPARSE = 1 / 32  # share of nonzero elements up to which rows are kept sparse


def sparse_if_few(x: Tensor) -> Rows:
    """x, converted to `SparseRows` if it is a float matrix with few nonzero elements."""
    few = x.dim() == 2 and x.is_floating_point() and int(torch.count_nonzero(x)) <= SPARSE * x.numel()
    return SparseRows.of(x) if few else x


def dense(x: Rows) -> Tensor:
    """x as a tensor."""
    return x.to_dense() if isinstance(x, SparseRows) else x
