"""Graph attention with dynamic scores (Brody et al., ICLR 2022)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Self

import torch
from torch import Tensor, nn

from dqrun.graphs import Graph, Rows
from dqrun.kernels.edge_scores import edge_scores
from dqrun.nn.attention import NEGATIVE_SLOPE, AttentionLayer
from dqrun.nn.linear import Matrix
from dqrun.nn.lowering import Into, Lowering, Value
from dqrun.nn.replaced import SUMS, Replaced, copied, copied_bias
from dqrun.quant import Site, Sites


class GATv2Layer(AttentionLayer):
    """x'_i = sum_j alpha_ij h_j + b, alpha_ij = softmax_j(a . LeakyReLU(h_j + t_i)) (eq. 7), h = W x + c, t = V x + d.

    Each of the `heads` has its own rows of W and V and its own vector. `share_weights`: V is W. The argument of the
    LeakyReLU, a number per edge and channel, is not rounded. Sites `features.source` and `features.target` are h and t.
    """

    replaces = Replaced(
        "GATv2Conv",
        ("edge_attr", "return_attention_weights"),
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
        share_weights: bool = False,
    ) -> None:
        """`head_channels`: number of channels of each head's result."""
        super().__init__(in_channels, head_channels, heads, concat, dropout, attention_dropout)
        self.share_weights = share_weights
        self.source = _matrix(in_channels, heads * head_channels)
        self.target = None if share_weights else _matrix(in_channels, heads * head_channels)
        self.attention = nn.Parameter(torch.empty(heads, head_channels))
        self.bias = nn.Parameter(torch.zeros(self.out_channels))
        nn.init.xavier_uniform_(self.attention)
        self.features = Sites(source=Site()) if share_weights else Sites(source=Site(), target=Site())
        self.sites = Sites(
            input=Site(nonnegative=nonnegative_input, scalars=in_channels == 1, width=in_channels),
            attention=Site(self.attention, channels=(0,)),
            logit=Site(scalars=True),
            coefficient=Site(nonnegative=True, scalars=True),
            message=Site(),
            aggregate=Site(),
            output=Site(),
        )

    def forward(self, x: Rows, graph: Graph, relu: bool = False) -> Tensor:
        """float32 [N, in] -> [N, heads * out], or [N, out] when averaged; `relu`: a ReLU follows."""
        x, protected, shape = self.entered(x, graph), graph.protected, (-1, self.heads, self.head_channels)
        h = t = self.features.source(self.source(x, self.source.bias), protected).view(shape)
        if self.target is not None:
            t = self.features.target(self.target(x, self.target.bias), protected).view(shape)
        scores = edge_scores(graph.csr, h, t, self.sites.attention(self.attention), NEGATIVE_SLOPE)
        return self.gathered(h, self.logits(scores, graph), graph, relu)

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

    @classmethod
    def from_pyg(cls, conv: Any) -> Self:
        sizes = conv.in_channels, conv.out_channels, conv.heads, conv.concat
        layer = cls(*sizes, attention_dropout=conv.dropout, share_weights=conv.share_weights)
        for matrix, linear in ((layer.source, conv.lin_l), (layer.target, conv.lin_r)):
            if matrix is not None:
                matrix.weight = copied(linear.weight)
                matrix.bias = None if linear.bias is None else copied(linear.bias)
        layer.attention = copied(conv.att.squeeze(0), conv.att.requires_grad)
        layer.bias = copied_bias(conv.bias, layer.out_channels, conv.lin_l.weight)
        return layer

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
    """W and c, initialised as in PyG."""
    weight = nn.Parameter(torch.empty(out_channels, in_channels))
    nn.init.xavier_uniform_(weight)
    return Matrix(weight, nn.Parameter(torch.zeros(out_channels)))
