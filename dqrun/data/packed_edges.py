"""`PackedEdges`: the edges of all graphs of a dataset, and their other orders, computed on demand."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from dqrun.kernels.grouping import index_type


@dataclass(frozen=True, eq=False)
class PackedEdges:
    """E edges of G graphs with N nodes, sorted by target. Ids of nodes and positions of edges are local: they
    count from the first node or edge of their own graph.

    Only the sources of edges and the in-degrees are stored. Other tensors are computed at their first use, so that a
    large graph that is processed in parts never needs them. For a single graph ids are int32 if they fit.
    """

    node_ptr: Tensor  # int64 [G + 1] first node of each graph
    edge_ptr: Tensor  # int64 [G + 1] first edge of each graph
    col: Tensor  # int64, or int32 for one graph, [E] source of each edge
    edges_in: Tensor  # int64 [N] number of edges that enter each node

    @cached_property
    def row(self) -> Tensor:
        """Target of each edge, int64 [E]."""
        return self.targets()

    def targets(self) -> Tensor:
        """The same as `row`, not kept."""
        nodes = torch.arange(self.edges_in.numel(), device=self.col.device)
        return nodes.repeat_interleave(self.edges_in, output_size=self.col.numel()) - self.first_node

    @cached_property
    def t_edge(self) -> Tensor:
        """Position in `col` and `row` of each edge of the order by source, int64 [E]."""
        return torch.sort(self.col + self.first_node, stable=True).indices - self.first_edge

    @cached_property
    def t_col(self) -> Tensor:
        """Target of each edge in the order by source, int64 [E]."""
        return self.row[self.t_edge + self.first_edge]

    @cached_property
    def edges_out(self) -> Tensor:
        """Number of edges that leave each node, int64 [N]."""
        return torch.bincount(self.col + self.first_node, minlength=self.edges_in.numel())

    @property
    def first_node(self) -> Tensor:
        """First node of the graph of each edge, int64 [E], or [1] where there is one graph."""
        return self._of_edges(self.node_ptr)

    @property
    def first_edge(self) -> Tensor:
        """First edge of the graph of each edge, int64 [E], or [1] where there is one graph."""
        return self._of_edges(self.edge_ptr)

    def _of_edges(self, pointer: Tensor) -> Tensor:
        if pointer.numel() == 2:
            return pointer[:1]
        return pointer[:-1].repeat_interleave(self.edge_ptr.diff())

    @property
    def narrow(self) -> PackedEdges:
        """The edges of one graph with sources of `index_type`."""
        return replace(self, col=self.col.to(index_type(self.edges_in.numel())))

    def to(self, device: torch.device | str) -> PackedEdges:
        """The same edges on another device."""
        return PackedEdges(*(each.to(device) for each in (self.node_ptr, self.edge_ptr, self.col, self.edges_in)))
