"""`Graph`: the structure of one batch, as every layer sees it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from dqrun.graphs.csr import CSR


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
