"""Graph convolution (Kipf & Welling, ICLR 2017)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Self

import torch
from torch import Tensor, nn

from dqrun import kernels
from dqrun.config import ModelConfig
from dqrun.graphs import Graph, Rows
from dqrun.nn.layer import Layer, Place
from dqrun.nn.lowering import Into, Lowering, Value
from dqrun.nn.products import product
from dqrun.nn.propagate import propagate
from dqrun.nn.replaced import SUMS, Replaced, copied, copied_bias
from dqrun.quant import Site, Sites


class GCNLayer(Layer):
    """X' = D^-1/2 A D^-1/2 X W + b over a graph whose edges hold one self-loop per node (Kipf & Welling, eq. 2).

    If a plan quantises per edge (`edge_weight`, `message`), messages are Q(Q(d_i^-1/2 d_j^-1/2) Q(XW)_j), as in
    Degree-Quant's code. Otherwise the two factors are applied to nodes, before and after a plain sum, as in an integer
    program: no number per edge is needed. `features` is then the scaled tensor whose rows edges gather, and its range
    counts each row once per outgoing edge.

    With edge weights A holds them, D their sums, as in PyG's `gcn_norm`; the sum is then weighted.
    """

    uses_self_loops = True
    reads_edge_weights = True
    replaces = Replaced("GCNConv", ("edge_weight",), {**SUMS, "normalize": (True,)})

    def __init__(
        self, in_channels: int, out_channels: int, dropout: float = 0.0, nonnegative_input: bool = False
    ) -> None:
        super().__init__(in_channels, out_channels)
        self.dropout = dropout
        self.weight = nn.Parameter(torch.empty(in_channels, out_channels))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        nn.init.xavier_uniform_(self.weight)
        self.sites = Sites(
            input=Site(nonnegative=nonnegative_input, scalars=in_channels == 1, width=in_channels),
            weight=Site(self.weight, channels=(1,)),
            features=Site(),
            edge_weight=Site(nonnegative=True, scalars=True),
            message=Site(),
            aggregate=Site(),
            output=Site(),
        )

    @classmethod
    def build(cls, config: ModelConfig, place: Place) -> Self:
        return cls(place.in_channels, place.out_channels, place.dropout, place.nonnegative_input)

    def forward(self, x: Rows, graph: Graph, relu: bool = False) -> Tensor:
        """float32 [N, in] -> [N, out]; `relu`: a ReLU follows."""
        protected = graph.protected
        a = self.sites.aggregate(self._sums(x, graph), protected) + self.bias
        return self.sites.output(a, protected, relu=relu)

    def _sums(self, x: Rows, graph: Graph) -> Tensor:
        """The sums over edges, float32 [N, out]; a method of its own, so that intermediate tensors are freed early."""
        sites, csr, protected = self.sites, graph.csr, graph.protected
        x = kernels.dropout(sites.input(x, protected), self.dropout, self.training)
        h = product(x, sites.weight, self.weight, transposed=True)
        del x
        if sites.edge_weight.idle and sites.message.idle:
            d = graph.inverse_sqrt_degree.unsqueeze(-1)
            return d * kernels.spmm(csr, sites.features(d * h, protected, csr.out_degree), graph.sum_weight)
        h = sites.features(h, protected)
        return propagate(csr, h, sites.edge_weight(graph.symmetric_weight), sites.message, protected)

    def lower(self, to: Lowering, x: Value, into: Into) -> Value:
        into = replace(into, bias=self.bias)
        by_nodes = self.sites.edge_weight.is_fp32 and self.sites.message.is_fp32
        h = to.linear(to.passed(x, "input"), self.weight.t(), "weight", to.into("features"), degree_scale=by_nodes)
        return to.aggregate(h, into, degree_scale=by_nodes, edge_weight="" if by_nodes else "edge_weight")

    @classmethod
    def from_pyg(cls, conv: Any) -> Self:
        layer = cls(conv.in_channels, conv.out_channels)
        layer.weight = copied(conv.lin.weight.t(), conv.lin.weight.requires_grad)
        layer.bias = copied_bias(conv.bias, layer.out_channels, conv.lin.weight)
        return layer

    def to_pyg(self, cached: bool = False, weighted: bool = False) -> nn.Module:
        from torch_geometric.nn import GCNConv

        conv: nn.Module = GCNConv(self.in_channels, self.out_channels, cached=cached)
        conv.load_state_dict({"lin.weight": self.weight.t(), "bias": self.bias})
        return conv
