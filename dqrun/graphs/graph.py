"""`Graph`: the structure of one batch, as every layer sees it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from dqrun.graphs.csr import CSR


@dataclass(frozen=True)
class Graph:
    """The structure of one batch of G graphs with N nodes in all.

    `protection_masks` is None (evaluation, other methods) or bool [K, N]: protected nodes, whose rows stay FP32 in this
    forward pass; one mask for all layers (K = 1) or one for each.

    `edge_weight` and `edge_attr` are in the order of `csr.col`. They are None where the data has none, where the
    layers do not read them, and where the configuration turns them off.
    """

    csr: CSR
    node_ptr: Tensor  # int64 [G + 1] first node of each graph
    batch: Tensor  # int64 [N] graph of each node
    degree_rank: Tensor  # float32 [N] share of the nodes of the same graph with at most this node's in-degree
    protection_masks: Tensor | None = None
    edge_weight: Tensor | None = None  # float32 [E], >= 0
    edge_attr: Tensor | None = None  # float32 [E, D] features, or int64 [E] categories

    @property
    def num_nodes(self) -> int:
        return self.csr.num_nodes

    @property
    def num_graphs(self) -> int:
        return self.node_ptr.numel() - 1

    @property
    def protected(self) -> Tensor | None:
        """Protected rows of the layer that sees this graph, bool [N], or None: no node is protected."""
        return None if self.protection_masks is None else self.protection_masks[0]

    @cached_property
    def inverse_sqrt_degree(self) -> Tensor:
        """d^-1/2 of each node, float32 [N], d the sum of the weights of its incoming edges; 0 where that is 0.

        Without weights d is the number of edges (PyG's `gcn_norm`).
        """
        if self.edge_weight is None:
            return self.csr.inverse_sqrt_degree
        degree = self.edge_weight.new_zeros(self.num_nodes).index_add_(0, self.csr.row, self.edge_weight)
        return torch.where(degree > 0, degree.rsqrt(), 0.0)

    @cached_property
    def symmetric_weight(self) -> Tensor:
        """d_i^-1/2 w_ij d_j^-1/2 of each edge from j to i, float32 [E]; without weights w_ij = 1."""
        if self.edge_weight is None:
            return self.csr.symmetric_weight
        d = self.inverse_sqrt_degree
        return d[self.csr.row] * self.edge_weight * d[self.csr.col]

    def layer(self, i: int) -> Graph:
        """The graph as layer i sees it, with that layer's mask."""
        if self.protection_masks is None or self.protection_masks.size(0) == 1:
            return self
        return replace(self, protection_masks=self.protection_masks[i : i + 1])

    def with_protection_masks(self, masks: Tensor | None) -> Graph:
        return replace(self, protection_masks=masks)
