"""Graph attention with dynamic scores (Brody et al., ICLR 2022)."""

from __future__ import annotations

from dataclasses import replace
from typing import Self

import torch
from torch import Tensor, nn

from dqrun import kernels
from dqrun.config import ModelConfig
from dqrun.graphs import Graph, Rows
from dqrun.kernels.edge_scores import edge_scores
from dqrun.nn.layer import Layer, Place
from dqrun.nn.linear import Matrix
from dqrun.nn.lowering import Into, Lowering, Value
from dqrun.nn.propagate import propagate
from dqrun.quant import Site, Sites

NEGATIVE_SLOPE = 0.2


class GATv2Layer(Layer):
    """x'_i = sum_j alpha_ij h_j + b, alpha_ij = softmax_j(a . LeakyReLU(h_j + t_i)) (eq. 7), h = W x + c, t = V x + d.

    Runs over a graph whose edges hold one self-loop per node. Each of the `heads` has its own rows of W and V and its
    own vector; their results are concatenated, or averaged with `concat=False`. `share_weights`: V is W. What stands
    inside the LeakyReLU is a number per edge and channel and is not rounded; `logit` and `coefficient` are per edge as
    in `GATLayer`. Sites `features.source` and `features.target` are h and t.
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
        share_weights: bool = False,
    ) -> None:
        """`head_channels`: of the result of each head."""
        super().__init__(in_channels, heads * head_channels if concat else head_channels)
        self.heads, self.head_channels, self.concat = heads, head_channels, concat
        self.dropout, self.attention_dropout, self.share_weights = dropout, attention_dropout, share_weights
        self.source = _matrix(in_channels, heads * head_channels)
        self.target = None if share_weights else _matrix(in_channels, heads * head_channels)
        self.attention = nn.Parameter(torch.empty(heads, head_channels))
        self.bias = nn.Parameter(torch.zeros(self.out_channels))
        nn.init.xavier_uniform_(self.attention)
        self.features = Sites(source=Site()) if share_weights else Sites(source=Site(), target=Site())
        self.sites = Sites(
            input=Site(nonnegative=nonnegative_input),
            attention=Site(self.attention, channels=(0,)),
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
        shape = -1, self.heads, self.head_channels
        h = self.features.source(kernels.linear(x, self.source(), self.source.bias), protected).view(shape)
        t = h
        if self.target is not None:
            t = self.features.target(kernels.linear(x, self.target(), self.target.bias), protected).view(shape)
        protected_edges = None if protected is None or sites.logit.is_fp32 else protected[csr.col]
        scores = edge_scores(csr, h, t, sites.attention(self.attention), NEGATIVE_SLOPE)
        alpha = sites.coefficient(kernels.edge_softmax(csr, sites.logit(scores, protected_edges)))
        alpha = kernels.dropout(alpha, self.attention_dropout, self.training)
        a = sites.aggregate(propagate(csr, h, alpha, sites.message, protected), protected)
        a = a.flatten(1) if self.concat else a.mean(1)
        return sites.output(a + self.bias, protected, relu=relu)

    def lower(self, to: Lowering, x: Value, into: Into) -> Value:
        x = to.passed(x, "input")
        h = t = self._product(to, x, self.source, "source")
        if self.target is not None:
            t = self._product(to, x, self.target, "target")
        into, sites = replace(into, bias=self.bias), ("attention", "coefficient")
        return to.dynamic_attention((h, t), self.attention, sites, NEGATIVE_SLOPE, self.concat, into)

    def _product(self, to: Lowering, x: Value, matrix: Matrix, name: str) -> Value:
        into = replace(to.into(f"features.{name}"), bias=matrix.bias)
        return to.linear(x, matrix.weight, f"{name}.weight", into)

    def to_pyg(self, cached: bool = False, weighted: bool = False) -> nn.Module:
        from torch_geometric.nn import GATv2Conv

        options = {"heads": self.heads, "concat": self.concat, "dropout": self.attention_dropout}
        conv: nn.Module = GATv2Conv(self.in_channels, self.head_channels, share_weights=self.share_weights, **options)
        ends = {"lin_l": self.source, "lin_r": self.source if self.target is None else self.target}
        state = {f"{name}.weight": end.weight for name, end in ends.items()}
        state |= {f"{name}.bias": end.bias for name, end in ends.items() if end.bias is not None}
        conv.load_state_dict(state | {"att": self.attention.unsqueeze(0), "bias": self.bias})
        return conv


def _matrix(in_channels: int, out_channels: int) -> Matrix:
    """W and c, as PyG begins with them."""
    weight = nn.Parameter(torch.empty(out_channels, in_channels))
    nn.init.xavier_uniform_(weight)
    return Matrix(weight, nn.Parameter(torch.zeros(out_channels)))
