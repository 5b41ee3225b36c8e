"""Graph isomorphism network (Xu et al., ICLR 2019)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from dqrun import kernels
from dqrun.config import ModelConfig
from dqrun.graphs import Graph, Rows
from dqrun.nn.layer import Layer, Place
from dqrun.nn.linear import MLP
from dqrun.nn.lowering import Into, Lowering, Value
from dqrun.nn.propagate import propagate, scaled
from dqrun.nn.replaced import SUMS, Replaced, eps_of, inner_sizes
from dqrun.quant import Site, Sites


class GINLayer(Layer):
    """x'_i = MLP((1 + eps) x_i + sum_j x_j), eps learned (eq. 4.1), over the edges as they are.

    Messages are copies of node rows. Therefore the `message` site quantises the node tensor, and its range counts each
    row once per outgoing edge; only with noise, which differs between copies, each message is quantised on its own.
    `input` is the tensor of both terms; a plan that quantises it needs no `message`.
    """

    gathers_input = True
    replaces = Replaced("GINConv", ("size",), SUMS, network="nn")

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        hidden_channels: int,
        mlp_layers: int = 2,
        norm: bool = False,
        dropout: float = 0.0,
        nonnegative_input: bool = False,
    ) -> None:
        """`norm`: a ReLU and a batch norm as the last operations of the MLP."""
        super().__init__(in_channels, out_channels)
        self.dropout = dropout
        self.eps = nn.Parameter(torch.zeros(1))
        self.mlp = MLP([in_channels, *[hidden_channels] * (mlp_layers - 1), out_channels], norm)
        self.sites = Sites(
            input=Site(nonnegative=nonnegative_input, scalars=in_channels == 1, width=in_channels),
            message=Site(nonnegative=nonnegative_input, scalars=in_channels == 1),
            aggregate=Site(nonnegative=nonnegative_input, scalars=in_channels == 1),
            output=Site(),
        )

    @classmethod
    def build(cls, config: ModelConfig, place: Place) -> Self:
        options = config.hidden, config.mlp_layers, config.mlp_norm
        return cls(place.in_channels, place.out_channels, *options, place.dropout, place.nonnegative_input)

    def forward(self, x: Rows, graph: Graph, relu: bool = False) -> Tensor:
        """float32 [N, in] -> [N, out]; `relu`: a ReLU follows."""
        sites, csr, protected = self.sites, graph.csr, graph.protected
        x = kernels.dropout(sites.input(kernels.summable(csr, x), protected), self.dropout, self.training)
        if sites.message.idle and sites.aggregate.idle and graph.sum_scale is None:
            h = kernels.spmm_self(csr, x, 1 + self.eps)
        else:
            sums = scaled(propagate(csr, x, None, sites.message, protected), graph)
            a = sites.aggregate(sums, protected)
            h = kernels.add_self(csr, a, x, 1 + self.eps)
        return sites.output(self.mlp(h, protected), protected, relu=relu)

    @property
    def sites_before_weights(self) -> list[Site]:
        return [self.sites.input, self.sites.message, self.sites.aggregate, self.mlp.linears[0].sites.input]

    def lower(self, to: Lowering, x: Value, into: Into) -> Value:
        h = to.aggregate(to.passed(x, "input", "message"), to.into("mlp.0.input"), self_weight=1.0 + self.eps.item())
        return self.mlp.lower(to.part("mlp"), h, into)

    @classmethod
    def from_pyg(cls, conv: Any) -> Self:
        layer = cls(*inner_sizes(conv), hidden_channels=1)
        layer.eps = eps_of(conv)
        return layer

    def to_pyg(self, cached: bool = False, weighted: bool = False) -> nn.Module:
        from torch_geometric.nn import GINConv

        conv: nn.Module = GINConv(nn.Sequential(), train_eps=True)
        conv.load_state_dict({"eps": self.eps})
        conv.nn = self.mlp.to_torch()  # afterwards: GINConv draws the weights of a network that it is given
        return conv

    @property
    def aggregate_channels(self) -> int:
        return self.in_channels

    def watch_aggregate(self, keep: Callable[[Tensor], Any]) -> RemovableHandle:
        """As `Layer.watch_aggregate`, including the node's own term, which one kernel adds to the sum in FP32."""
        return self.mlp.register_forward_pre_hook(lambda module, arguments: keep(arguments[0]))
