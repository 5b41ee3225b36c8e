"""`Graph`: the structure of one batch, as every layer sees it. `SparseRows`: features of which most are zero. `Batch`:
a graph with features and targets."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class CSR:
    """Edges grouped by target node, and the same edges grouped by source node (the transpose).

    E edges, N nodes; all int64. Sources may be other things than targets, M in number (`t_rowptr` then has M + 1
    elements): the columns of a sparse matrix, say. The edges of target i are `col[rowptr[i]:rowptr[i+1]]` (their
    sources), in ascending order of edge position; those of source j are `t_col[t_rowptr[j]:t_rowptr[j+1]]` (their
    targets), `t_edge` giving each one's position in `col`. Multi-edges and self-loops are kept as they are.
    """

    rowptr: Tensor  # [N + 1]
    col: Tensor  # [E] source of each edge
    row: Tensor  # [E] target of each edge, ascending
    t_rowptr: Tensor  # [N + 1]
    t_col: Tensor  # [E] target of each edge, in transposed order
    t_edge: Tensor  # [E] position in `col`/`row` of each edge of the transposed order

    @classmethod
    def from_edge_index(cls, edge_index: Tensor, num_nodes: int, num_sources: int | None = None) -> CSR:
        """Builds both orders from PyG's `edge_index` [2, E] (row 0: source, row 1: target); stable sorts.

        `num_sources`: M, where sources are not nodes.
        """
        source, target = edge_index[0], edge_index[1]
        order = torch.sort(target, stable=True).indices
        col, row = source[order], target[order]
        t_edge = torch.sort(col, stable=True).indices
        return cls(
            rowptr=_pointer(row, num_nodes),
            col=col,
            row=row,
            t_rowptr=_pointer(col, num_nodes if num_sources is None else num_sources),
            t_col=row[t_edge],
            t_edge=t_edge,
        )

    @property
    def num_nodes(self) -> int:
        return self.rowptr.numel() - 1

    @property
    def num_edges(self) -> int:
        return self.col.numel()

    @property
    def in_degree(self) -> Tensor:
        """Number of edges that enter each node, int64 [N]."""
        return self.rowptr.diff()

    @cached_property
    def out_degree(self) -> Tensor:
        """Number of edges that leave each node, int64 [N]."""
        return self.t_rowptr.diff()

    @cached_property
    def inverse_sqrt_degree(self) -> Tensor:
        """d^-1/2 of each node's in-degree, float32 [N]; 0 without edges (PyG's gcn_norm)."""
        degree = self.in_degree.to(torch.float32)
        return torch.where(degree > 0, degree.rsqrt(), 0.0)

    @cached_property
    def symmetric_weight(self) -> Tensor:
        """d_i^-1/2 d_j^-1/2 of each edge from j to i, float32 [E]."""
        d = self.inverse_sqrt_degree
        return d[self.row] * d[self.col]

    def to(self, device: torch.device | str) -> CSR:
        return CSR(*(getattr(self, name).to(device) for name in self.__dataclass_fields__))


def _pointer(index: Tensor, size: int) -> Tensor:
    """Start of each value's run in a sorted index, int64 [size + 1]."""
    counts = torch.bincount(index, minlength=size)
    return torch.cat([counts.new_zeros(1), counts.cumsum(0)])


@dataclass(frozen=True)
class Graph:
    """The structure of one batch of G graphs with N nodes in all.

    `protected` is None (evaluation, other methods) or bool [K, N]: nodes whose rows stay exact in this forward
    pass, one mask for all layers (K = 1) or one for each.
    """

    csr: CSR
    node_ptr: Tensor  # int64 [G + 1] first node of each graph
    batch: Tensor  # int64 [N] graph of each node
    degree_rank: Tensor  # float32 [N] share of the nodes of the same graph with at most this node's in-degree
    protected: Tensor | None = None

    @property
    def num_nodes(self) -> int:
        return self.csr.num_nodes

    @property
    def num_graphs(self) -> int:
        return self.node_ptr.numel() - 1

    @property
    def keep(self) -> Tensor | None:
        """Rows that stay exact in the layer that sees this graph, bool [N], or None: no node is protected."""
        return None if self.protected is None else self.protected[0]

    def layer(self, i: int) -> Graph:
        """The graph as layer i sees it, with that layer's mask."""
        if self.protected is None or self.protected.size(0) == 1:
            return self
        return replace(self, protected=self.protected[i : i + 1])

    def with_protected(self, protected: Tensor | None) -> Graph:
        return replace(self, protected=protected)


class Sparsity:
    """Where a matrix [N, F] has values: an edge of `places` per value, from its column to its row; K values.

    The rest is zero. `known`: what `kernels.sparse` has worked out for a graph.
    """

    def __init__(self, places: CSR, num_columns: int) -> None:
        self.places, self.num_columns = places, num_columns
        self.known: dict[tuple[str, int], tuple[CSR, Any]] = {}

    @cached_property
    def zeros_of_row(self) -> Tensor:
        """How many elements of each row are left out, int64 [N]."""
        return self.num_columns - self.places.in_degree


@dataclass(frozen=True)
class SparseRows:
    """A matrix [N, F] as its `values`, float32 [K], at the places of `where`, row by row.

    Takes the place of a tensor from `Batch.x` to the product with the first weight: of a bag of words about one
    element in a hundred is not zero. What `dqrun.kernels` has for a tensor on this way takes either: `kernels.sparse`.
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
SPARSE = 1 / 32  # share of values up to which rows are kept sparse


def sparse_if_few(x: Tensor) -> Rows:
    """x, or the same as `SparseRows` where it is a float matrix with few values."""
    few = x.dim() == 2 and x.is_floating_point() and int(torch.count_nonzero(x)) <= SPARSE * x.numel()
    return SparseRows.of(x) if few else x


def dense(x: Rows) -> Tensor:
    """x as a tensor."""
    return x.to_dense() if isinstance(x, SparseRows) else x


@dataclass(frozen=True)
class Batch:
    """A graph with its features and targets.

    `x`: float32 [N, F], as a tensor or sparse, or int64 [N] when features are categories. `y`: int64 or float32, [G]
    for graph tasks, [N] for node tasks. `index`: int64 rows of the logits that count (node tasks: the split's nodes),
    or None: all.
    """

    graph: Graph
    x: Rows
    y: Tensor
    index: Tensor | None = None
