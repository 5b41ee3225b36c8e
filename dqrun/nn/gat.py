"""Graph attention (Velickovic et al., ICLR 2018)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dqrun import kernels
from dqrun.graphs import Graph, Rows
from dqrun.nn.attention import NEGATIVE_SLOPE, AttentionLayer
from dqrun.nn.lowering import Into, Lowering, Value
from dqrun.nn.products import product
from dqrun.nn.replaced import SUMS, Replaced, copied, copied_bias
from dqrun.quant import Site, Sites


class GATLayer(AttentionLayer):
    """x'_i = sum_j alpha_ij W x_j + b, alpha_ij = softmax_j(LeakyReLU(a_s . W x_j + a_t . W x_i)) (eq. 1 to 4).

    Site `logit` is before LeakyReLU, `coefficient` after the softmax; Degree-Quant leaves the latter in FP32.
    """

    replaces = Replaced(
        "GATConv",
        ("edge_attr", "size", "return_attention_weights"),
        {**SUMS, "negative_slope": (NEGATIVE_SLOPE,), "edge_dim": (None,), "residual": (False,)},
    )

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
        """`head_channels`: number of channels of each head's result."""
        super().__init__(in_channels, head_channels, heads, concat, dropout, attention_dropout)
        self.weight = nn.Parameter(torch.empty(in_channels, heads * head_channels))
        self.attention = nn.Parameter(torch.empty(2, heads, head_channels))  # of the source, of the target
        self.bias = nn.Parameter(torch.zeros(self.out_channels))
        nn.init.xavier_uniform_(self.weight)
        bound = (6 / (heads + head_channels)) ** 0.5  # PyG's glorot of a [1, heads, channels] tensor
        nn.init.uniform_(self.attention, -bound, bound)
        self.sites = Sites(
            input=Site(nonnegative=nonnegative_input, scalars=in_channels == 1, width=in_channels),
            weight=Site(self.weight, channels=(1,)),
            attention=Site(self.attention, channels=(0, 1)),  # each vector of each head is an output channel
            features=Site(),
            logit=Site(scalars=True),
            coefficient=Site(nonnegative=True, scalars=True),
            message=Site(),
            aggregate=Site(),
            output=Site(),
        )

    def forward(self, x: Rows, graph: Graph, relu: bool = False) -> Tensor:
        """float32 [N, in] -> [N, heads * out], or [N, out] when averaged; `relu`: a ReLU follows."""
        sites = self.sites
        features = product(self.entered(x, graph), sites.weight, self.weight, transposed=True)
        rounded = sites.features(features, graph.protected)
        h = kernels.same_numbers(rounded, rounded.view(-1, self.heads, self.head_channels))
        source, target = kernels.head_scores(h, sites.attention(self.attention))
        logits = self.logits(kernels.edge_add(graph.csr, source, target), graph)
        return self.gathered(h, F.leaky_relu(logits, NEGATIVE_SLOPE), graph, relu)

    def lower(self, to: Lowering, x: Value, into: Into) -> Value:
        into, sites = replace(into, bias=self.bias), ("attention", "coefficient")
        h = to.linear(to.passed(x, "input"), self.weight.t(), "weight", to.into("features"))
        return to.attention(h, self.attention, sites, NEGATIVE_SLOPE, self.concat, into)

    @classmethod
    def from_pyg(cls, conv: Any) -> Self:
        layer = cls(conv.in_channels, conv.out_channels, conv.heads, conv.concat, attention_dropout=conv.dropout)
        layer.weight = copied(conv.lin.weight.t(), conv.lin.weight.requires_grad)
        layer.attention = copied(torch.cat([conv.att_src, conv.att_dst]), conv.att_src.requires_grad)
        layer.bias = copied_bias(conv.bias, layer.out_channels, conv.lin.weight)
        return layer

    def to_pyg(self, cached: bool = False, weighted: bool = False) -> nn.Module:
        from torch_geometric.nn import GATConv

        options = {"heads": self.heads, "concat": self.concat, "dropout": self.attention_dropout}
        conv: nn.Module = GATConv(self.in_channels, self.head_channels, **options)
        vectors = {"att_src": self.attention[:1], "att_dst": self.attention[1:]}
        conv.load_state_dict({"lin.weight": self.weight.t(), "bias": self.bias, **vectors})
        return conv
