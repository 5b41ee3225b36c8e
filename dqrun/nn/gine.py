"""GIN with edge features (Hu et al., Strategies for Pre-training Graph Neural Networks, ICLR 2020)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from dqrun import kernels
from dqrun.config import ModelConfig
from dqrun.errors import ConfigError
from dqrun.graphs import Graph, Rows, dense
from dqrun.nn.layer import Layer, Place
from dqrun.nn.linear import MLP, Embedding, Linear
from dqrun.nn.lowering import Into, Lowering, Value
from dqrun.nn.propagate import scaled
from dqrun.nn.replaced import SUMS, Replaced, copied, eps_of, inner_sizes
from dqrun.quant import Site, Sites

NO_FEATURES = "model.name=gine needs data with edge features, this has none: model=gin is the same layer without"


class GINELayer(Layer):
    """x'_i = MLP((1 + eps) x_i + sum_j ReLU(x_j + e_ij)), eps learned, over the edges as they are.

    e_ij: float features of the edge times a matrix, plus a bias, or a vector for its category (part `edge`). Unlike in
    GIN the messages of a node differ, so that this layer makes a tensor [E, in_channels], as PyG's does. An edge is
    protected if its source is.
    """

    gathers_input = True
    reads_edge_features = True
    replaces = Replaced("GINEConv", ("edge_attr", "size"), SUMS, network="nn")

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        hidden_channels: int,
        edge_channels: int = 0,
        edge_categories: int = 0,
        mlp_layers: int = 2,
        norm: bool = False,
        dropout: float = 0.0,
        nonnegative_input: bool = False,
    ) -> None:
        """`edge_channels`: width of float edge features; or `edge_categories`: number of categories of edges.

        Raises ConfigError if both are 0.
        """
        super().__init__(in_channels, out_channels)
        if not edge_channels and not edge_categories:
            raise ConfigError(NO_FEATURES)
        self.dropout = dropout
        self.eps = nn.Parameter(torch.zeros(1))
        self.edge: Linear | Embedding = (
            Embedding(edge_categories, in_channels) if edge_categories else Linear(edge_channels, in_channels)
        )
        self.mlp = MLP([in_channels, *[hidden_channels] * (mlp_layers - 1), out_channels], norm)
        self.sites = Sites(
            input=Site(nonnegative=nonnegative_input, scalars=in_channels == 1, width=in_channels),
            message=Site(nonnegative=True, scalars=in_channels == 1),
            aggregate=Site(nonnegative=True, scalars=in_channels == 1),
            output=Site(),
        )

    @classmethod
    def build(cls, config: ModelConfig, place: Place) -> Self:
        edges, mlp = (place.edge_channels, place.edge_categories), (config.mlp_layers, config.mlp_norm)
        sizes = place.in_channels, place.out_channels, config.hidden
        return cls(*sizes, *edges, *mlp, place.dropout, place.nonnegative_input)

    def forward(self, x: Rows, graph: Graph, relu: bool = False) -> Tensor:
        """float32 [N, in] -> [N, out]; `relu`: a ReLU follows. Raises ConfigError for a graph without edge features."""
        if graph.edge_attr is None:
            raise ConfigError(NO_FEATURES)
        sites, csr, protected = self.sites, graph.csr, graph.protected
        x = kernels.dropout(sites.input(dense(x), protected), self.dropout, self.training)
        protected_edges = None if protected is None else protected[csr.col]
        messages = (x.index_select(0, csr.col) + self.edge(graph.edge_attr, protected_edges)).relu()
        a = scaled(kernels.segment_reduce(sites.message(messages, protected_edges), csr.rowptr, "sum"), graph)
        h = kernels.add_self(csr, sites.aggregate(a, protected), x, 1 + self.eps)
        return sites.output(self.mlp(h, protected), protected, relu=relu)

    def lower(self, to: Lowering, x: Value, into: Into) -> Value:
        e = self._lower_edges(to.part("edge"), to.into("message"))
        h = to.aggregate_edges(to.passed(x, "input"), e, to.into("mlp.0.input"), self_weight=1.0 + self.eps.item())
        return self.mlp.lower(to.part("mlp"), h, into)

    def _lower_edges(self, part: Lowering, into: Into) -> Value:
        """Records the operations from edge features to the rows e_ij."""
        if isinstance(self.edge, Embedding):
            return part.edge_lookup(self.edge.weight, "weight", into)
        return self.edge.lower(part, part.edge_features(self.edge.weight.size(1), part.into("input")), into)

    @classmethod
    def from_pyg(cls, conv: Any) -> Self:
        edge_channels = inner_sizes(conv)[0] if conv.lin is None else conv.lin.weight.size(1)
        layer = cls(*inner_sizes(conv), hidden_channels=1, edge_channels=edge_channels)
        layer.eps = eps_of(conv)
        if conv.lin is None:
            layer.edge = GivenRows()  # type: ignore[assignment]
        else:
            layer.edge.weight = copied(conv.lin.weight)
            layer.edge.bias = copied(conv.lin.bias)
        return layer

    def to_pyg(self, cached: bool = False, weighted: bool = False) -> nn.Module:
        from torch_geometric.nn import GINEConv

        width = None if isinstance(self.edge, Embedding) else self.edge.weight.size(1)
        conv: nn.Module = GINEConv(nn.Sequential(nn.Linear(self.in_channels, 1)), train_eps=True, edge_dim=width)
        conv.nn = self.mlp.to_torch()
        state = {f"nn.{name}": value for name, value in conv.nn.state_dict().items()} | {"eps": self.eps}
        if isinstance(self.edge, Embedding):
            conv.load_state_dict(state)
            return _OfCategories(conv, self.edge.to_torch())
        conv.load_state_dict(state | {"lin.weight": self.edge.weight, "lin.bias": self.edge.bias})
        return conv

    @property
    def aggregate_channels(self) -> int:
        return self.in_channels

    def watch_aggregate(self, keep: Callable[[Tensor], Any]) -> RemovableHandle:
        """As `Layer.watch_aggregate`, including the node's own term, as in GIN."""
        return self.mlp.register_forward_pre_hook(lambda module, arguments: keep(arguments[0]))


class _OfCategories(nn.Module):
    """PyG's layer after an embedding of edge categories, as in PyG's examples for molecules."""

    def __init__(self, conv: nn.Module, embedding: nn.Embedding) -> None:
        super().__init__()
        self.conv, self.embedding = conv, embedding

    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor) -> Tensor:
        """As `GINEConv`, with edge_attr int64 [E]."""
        out: Tensor = self.conv(x, edge_index, self.embedding(edge_attr))
        return out


class GivenRows(nn.Module):
    """Edge features of the width of the nodes', which are added to messages as they are."""

    def forward(self, x: Tensor, protected: Tensor | None = None) -> Tensor:
        return x
