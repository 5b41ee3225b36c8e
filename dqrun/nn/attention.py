"""`AttentionLayer`: base class of layers that weight messages by a softmax over the edges of their target."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from torch import Tensor, nn

from dqrun import kernels
from dqrun.config import ModelConfig
from dqrun.graphs import CSR, Graph, Rows
from dqrun.nn.layer import Layer, Place
from dqrun.nn.propagate import propagate
from dqrun.quant import Site, Sites, Values

NEGATIVE_SLOPE = 0.2


class AttentionLayer(Layer):
    """x'_i = sum_j alpha_ij h_j + b, alpha the softmax over the edges into i of scores that a subclass computes.

    Runs over a graph whose edges hold one self-loop per node. The results of the `heads` are concatenated, or averaged
    with `concat=False`. A subclass has `bias` and the sites `input`, `attention`, `logit`, `coefficient`, `message`,
    `aggregate` and `output`. `logit`, `coefficient` and `message` have rows of edges; an edge is protected if its
    source is.
    """

    uses_self_loops = True
    sites: Sites
    bias: nn.Parameter

    def __init__(
        self,
        in_channels: int,
        head_channels: int,
        heads: int = 1,
        concat: bool = True,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
    ) -> None:
        """`head_channels`: number of channels of each head's result."""
        super().__init__(in_channels, heads * head_channels if concat else head_channels)
        self.heads, self.head_channels, self.concat = heads, head_channels, concat
        self.dropout, self.attention_dropout = dropout, attention_dropout

    @classmethod
    def build(cls, config: ModelConfig, place: Place) -> Self:
        heads = config.out_heads if place.last else config.heads
        channels = place.out_channels if place.last else place.out_channels // heads
        options = place.dropout, config.attention_dropout, place.nonnegative_input
        return cls(place.in_channels, channels, heads, not place.last, *options)  # type: ignore[call-arg]  # of subclasses

    def entered(self, x: Rows, graph: Graph) -> Rows:
        """The input after dropout and rounding."""
        return kernels.dropout(self.sites.input(x, graph.protected), self.dropout, self.training)

    @property
    def aggregate_channels(self) -> int:
        return self.heads * self.head_channels

    def logits(self, scores: Tensor, graph: Graph) -> Tensor:
        """Rounded scores, float32 [E, H]."""
        protected = None if graph.protected is None or self.sites.logit.is_fp32 else graph.protected[graph.csr.col]
        return self.sites.logit(scores, protected)

    def gathered(self, h: Tensor, logits: Tensor, graph: Graph, relu: bool) -> Tensor:
        """The result, float32 [N, heads * C] or [N, C], from h [N, H, C] and logits [E, H]; `relu`: a ReLU follows."""
        sites, protected = self.sites, graph.protected
        alpha = rounded_coefficients(sites.coefficient, graph.csr, kernels.edge_softmax(graph.csr, logits))
        alpha = kernels.dropout(alpha, self.attention_dropout, self.training)
        a = sites.aggregate(propagate(graph.csr, h, alpha, sites.message, protected), protected)
        a = a.flatten(1) if self.concat else a.mean(1)
        return sites.output(a + self.bias, protected, relu=relu)


@dataclass(frozen=True)
class Coefficients(Values[Tensor]):
    """Attention coefficients, float32 [E, H]; at one bit the edges into a node share their levels, for each head."""

    csr: CSR | None = None

    def group_mean(self, numbers: Tensor) -> Tensor:
        """Means of [E, H] over the edges into each node, for each head, at each of these edges."""
        assert self.csr is not None
        return kernels.segment_reduce(numbers, self.csr.rowptr, "mean")[self.csr.row]


def rounded_coefficients(site: Site, csr: CSR, alpha: Tensor) -> Tensor:
    """The output of the site `coefficient`, float32 [E, H]."""
    if site.quantizer is None or site.quantizer.spec.bits > 1:
        return site(alpha)
    return site.quantizer.quantize(Coefficients(alpha, csr=csr))
