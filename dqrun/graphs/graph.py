"""`Graph`: the structure of one batch, the argument of every layer."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dqrun.graphs.csr import CSR
from dqrun.graphs.once import once


@dataclass(frozen=True)
class Graph:
    """The structure of one batch of G graphs with N nodes in all.

    `protection_masks` is None (evaluation, other methods) or bool [K, N]: protected nodes, whose rows stay FP32 in this
    forward pass; one mask for all layers (K = 1) or one for each.

    `edge_weight` and `edge_attr` are in the order of `csr.col`. They are None if the data has none, the layers do not
    read them, or the configuration turns them off.

    The last three fields are set for a part of a larger graph (`kernels.sampling`), in which edges may be missing:
    layers normalise by degrees in the whole graph, and sums of messages are unbiased estimates of sums over all edges.
    """

    csr: CSR
    node_ptr: Tensor  # int64 [G + 1] first node of each graph
    batch: Tensor  # int64 [N] graph of each node
    degree_rank: Tensor  # float32 [N] share of the nodes of the same graph with at most this node's in-degree
    protection_masks: Tensor | None = None
    edge_weight: Tensor | None = None  # float32 [E], >= 0
    edge_attr: Tensor | None = None  # float32 [E, D] features, or int64 [E] categories
    whole_inverse_sqrt_degree: Tensor | None = None  # float32 [N] `inverse_sqrt_degree` in the whole graph
    whole_in_degree: Tensor | None = None  # int64 [N] number of edges into each node in the whole graph
    sum_scale: Tensor | None = None  # float32 [N] number of edges of the whole graph for each one here, loops apart

    @property
    def num_nodes(self) -> int:
        return self.csr.num_nodes

    @property
    def num_graphs(self) -> int:
        return self.node_ptr.numel() - 1

    @property
    def protected(self) -> Tensor | None:
        """Protected rows of the layer to which this graph is passed, bool [N]; None: no node is protected."""
        return None if self.protection_masks is None else self.protection_masks[0]

    @property
    def in_degree(self) -> Tensor:
        """Number of edges that enter each node, int64 [N]; for a part of a graph, in the whole graph."""
        return self.csr.in_degree if self.whole_in_degree is None else self.whole_in_degree

    @once
    def inverse_sqrt_degree(self) -> Tensor:
        """d^-1/2 of each node, float32 [N], d the sum of the weights of its incoming edges; 0 for d = 0.

        Without weights d is the number of edges (PyG's `gcn_norm`).
        """
        if self.whole_inverse_sqrt_degree is not None:
            return self.whole_inverse_sqrt_degree
        if self.edge_weight is None:
            return self.csr.inverse_sqrt_degree
        degree = self.edge_weight.new_zeros(self.num_nodes).index_add_(0, self.csr.row, self.edge_weight)
        return torch.where(degree > 0, degree.rsqrt(), 0.0)

    @once
    def sum_weight(self) -> Tensor | None:
        """The factor of each message in a sum, float32 [E]: its weight, times `sum_scale` of its target unless it is a
        self-loop; None: 1.
        """
        if self.sum_scale is None:
            return self.edge_weight
        row, col = self.csr.row, self.csr.col
        scale = torch.where(row == col, 1.0, self.sum_scale[row])
        return scale if self.edge_weight is None else scale * self.edge_weight

    @once
    def symmetric_weight(self) -> Tensor:
        """d_i^-1/2 w_ij d_j^-1/2 of each edge from j to i, float32 [E], w_ij as `sum_weight`; without weights 1."""
        weight, d = self.sum_weight, self.inverse_sqrt_degree
        if weight is None:
            return (
                self.csr.symmetric_weight
                if self.whole_inverse_sqrt_degree is None
                else d[self.csr.row] * d[self.csr.col]
            )
        return d[self.csr.row] * weight * d[self.csr.col]

    def layer(self, i: int) -> Graph:
        """The graph with the mask of layer i."""
        if self.protection_masks is None or self.protection_masks.size(0) == 1:
            return self
        return replace(self, protection_masks=self.protection_masks[i : i + 1])

    def with_protection_masks(self, masks: Tensor | None) -> Graph:
        return replace(self, protection_masks=masks)
