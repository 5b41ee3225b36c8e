"""`CSR`: edges grouped by target node and by source node."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dqrun.graphs.once import once

MOST_SHORT = 2**31
"""So many sources have numbers that int32 holds."""


@dataclass(frozen=True)
class CSR:
    """Edges grouped by target node, and the same edges grouped by source node (the transpose).

    E edges, N nodes; all int64. Sources may be other objects than targets, such as the columns of a sparse matrix;
    `t_rowptr` has M + 1 elements for M sources. The sources of the edges of target i are `col[rowptr[i]:rowptr[i+1]]`,
    in ascending order of edge position. The targets of the edges of source j are `t_col[t_rowptr[j]:t_rowptr[j+1]]`,
    and `t_edge` has the positions of these edges in `col`. Multi-edges and self-loops are kept.
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
    def parts(self) -> tuple[Tensor, ...]:
        """The six tensors, in the order of the fields."""
        return self.rowptr, self.col, self.row, self.t_rowptr, self.t_col, self.t_edge

    @property
    def num_nodes(self) -> int:
        return self.rowptr.numel() - 1

    @property
    def num_edges(self) -> int:
        return self.col.numel()

    @once
    def edge_index(self) -> Tensor:
        """PyG's form, int64 [2, E]: row 0 the sources, row 1 the targets, ascending; the same object each time."""
        return torch.stack([self.col, self.row])

    @once
    def short_col(self) -> Tensor:
        """`col` as int32 if ids fit, else as it is: fewer bytes for kernels that are bound by memory."""
        return self.col.to(torch.int32) if self.t_rowptr.numel() - 1 <= MOST_SHORT else self.col

    @property
    def in_degree(self) -> Tensor:
        """Number of edges that enter each node, int64 [N]."""
        return self.rowptr.diff()

    @once
    def out_degree(self) -> Tensor:
        """Number of edges that leave each node, int64 [N]."""
        return self.t_rowptr.diff()

    @once
    def inverse_sqrt_degree(self) -> Tensor:
        """d^-1/2 of each node's in-degree, float32 [N]; 0 without edges (PyG's gcn_norm)."""
        degree = self.in_degree.to(torch.float32)
        return torch.where(degree > 0, degree.rsqrt(), 0.0)

    @once
    def symmetric_weight(self) -> Tensor:
        """d_i^-1/2 d_j^-1/2 of each edge from j to i, float32 [E]."""
        d = self.inverse_sqrt_degree
        return d[self.row] * d[self.col]

    def to(self, device: torch.device | str) -> CSR:
        return CSR(*(part.to(device) for part in self.parts))


class InEdges(CSR):
    """A `CSR` that stores only the edges by target; other tensors are computed at their first use.

    For graphs that are read in parts. `col` may be int32, which layers do not take; parts of the graph are int64.
    """

    def __init__(self, rowptr: Tensor, col: Tensor) -> None:
        object.__setattr__(self, "rowptr", rowptr)
        object.__setattr__(self, "col", col)

    @once
    def row(self) -> Tensor:
        return torch.arange(self.num_nodes).repeat_interleave(self.in_degree, output_size=self.num_edges)

    @once
    def t_edge(self) -> Tensor:
        return torch.sort(self.col, stable=True).indices

    @once
    def t_col(self) -> Tensor:
        return self.row[self.t_edge]

    @once
    def t_rowptr(self) -> Tensor:
        return _pointer(self.col, self.num_nodes)


class ForwardEdges(InEdges):
    """An `InEdges` for forward passes only: backward passes would need edges sorted by source."""

    @property
    def parts(self) -> tuple[Tensor, ...]:
        """As `CSR.parts`, with an empty `t_col` and `t_edge`."""
        nothing = self.col.new_empty(0)
        return self.rowptr, self.col, self.row, self.t_rowptr, nothing, nothing


def _pointer(index: Tensor, size: int) -> Tensor:
    """Start of each value's run in a sorted index, int64 [size + 1]."""
    counts = torch.bincount(index, minlength=size)
    return torch.cat([counts.new_zeros(1), counts.cumsum(0)])
