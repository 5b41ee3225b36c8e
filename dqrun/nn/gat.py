"""Graph attention (Velickovic et al., ICLR 2018)."""

from __future__ import annotations

from dataclasses import replace
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dqrun import kernels
from dqrun.config import ModelConfig
from dqrun.graphs import Graph, Rows
from dqrun.nn.layer import Layer, Place
from dqrun.nn.lowering import Into, Lowering, Value
from dqrun.nn.propagate import propagate
from dqrun.quant import Site, Sites

NEGATIVE_SLOPE = 0.2


class GATLayer(Layer):
    """x'_i = sum_j alpha_ij W x_j + b, alpha_ij = softmax_j(LeakyReLU(a_s . W x_j + a_t . W x_i)) (eq. 1 to 4).

    Runs over a graph whose edges hold one self-loop per node. The `heads` outputs are concatenated, or averaged with
    `concat=False`. Sites `logit` (before LeakyReLU) and `coefficient` (after the softmax) are per edge; Degree-Quant
    leaves the latter exact. An edge takes the protection of its source.
    """

    uses_self_loops = True

    def __init__(
        self,
        in_channels: int,
        head_channels: int,
        heads: int = 1,
        concat: bool = True,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        nonnegative_input: bool = False,
    ) -> None:
        """`head_channels`: of the result of each head."""
        super().__init__(in_channels, heads * head_channels if concat else head_channels)
        self.heads, self.head_channels, self.concat = heads, head_channels, concat
        self.dropout, self.attention_dropout = dropout, attention_dropout
        self.weight = nn.Parameter(torch.empty(in_channels, heads * head_channels))
        self.attention = nn.Parameter(torch.empty(2, heads, head_channels))  # of the source, of the target
        self.bias = nn.Parameter(torch.zeros(self.out_channels))
        nn.init.xavier_uniform_(self.weight)
        bound = (6 / (heads + head_channels)) ** 0.5  # PyG's glorot of a [1, heads, channels] tensor
        nn.init.uniform_(self.attention, -bound, bound)
        self.sites = Sites(
            input=Site(nonnegative=nonnegative_input),
            weight=Site(self.weight, channels=(1,)),
            attention=Site(self.attention, channels=(0, 1)),  # each vector of each head is an output channel
            features=Site(),
            logit=Site(),
            coefficient=Site(nonnegative=True),
            message=Site(),
            aggregate=Site(),
            output=Site(),
        )

    @classmethod
    def build(cls, config: ModelConfig, place: Place) -> Self:
        heads = config.out_heads if place.last else config.heads
        channels = place.out_channels if place.last else place.out_channels // heads
        options = place.dropout, config.attention_dropout, place.nonnegative_input
        return cls(place.in_channels, channels, heads, not place.last, *options)

    def forward(self, x: Rows, graph: Graph, relu: bool = False) -> Tensor:
        """float32 [N, in] -> [N, heads * out], or [N, out] when averaged; `relu`: a ReLU follows."""
        sites, csr, protected = self.sites, graph.csr, graph.protected
        x = kernels.dropout(sites.input(x, protected), self.dropout, self.training)
        h = sites.features(kernels.linear(x, sites.weight(self.weight).t()), protected).view(
            -1, self.heads, self.head_channels
        )
        source, target = torch.einsum("nhc,shc->snh", h, sites.attention(self.attention))
        protected_edges = None if protected is None or sites.logit.is_fp32 else protected[csr.col]
        logit = sites.logit(kernels.edge_add(csr, source, target), protected_edges)
        alpha = sites.coefficient(kernels.edge_softmax(csr, F.leaky_relu(logit, NEGATIVE_SLOPE)))
        alpha = kernels.dropout(alpha, self.attention_dropout, self.training)
        a = sites.aggregate(propagate(csr, h, alpha, sites.message, protected), protected)
        a = a.flatten(1) if self.concat else a.mean(1)
        return sites.output(a + self.bias, protected, relu=relu)

    def lower(self, to: Lowering, x: Value, into: Into) -> Value:
        into, sites = replace(into, bias=self.bias), ("attention", "coefficient")
        h = to.linear(to.passed(x, "input"), self.weight.t(), "weight", to.into("features"))
        return to.attention(h, self.attention, sites, NEGATIVE_SLOPE, self.concat, into)

    def to_pyg(self, cached: bool = False, weighted: bool = False) -> nn.Module:
        from torch_geometric.nn import GATConv

        options = {"heads": self.heads, "concat": self.concat, "dropout": self.attention_dropout}
        conv: nn.Module = GATConv(self.in_channels, self.head_channels, **options)
        vectors = {"att_src": self.attention[:1], "att_dst": self.attention[1:]}
        conv.load_state_dict({"lin.weight": self.weight.t(), "bias": self.bias, **vectors})
        return conv
