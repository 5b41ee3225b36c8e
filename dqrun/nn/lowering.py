"""`Lowering`: the interface in which a network records its operations, each once and in order.

A layer lists its operations in one method, `lower(to, x, into)`, as calls of `to`. Subclasses of `Lowering` use them in
different ways: to make an integer program (`integer.lower`), to count costs (`nn.costs`), to find products
(`nn.operands`), or to convert batch norms of a copy in float64 (`integer.simulation`). The name of a value is that of
its site.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, Self

from torch import Tensor

if TYPE_CHECKING:
    from dqrun.nn.linear import BatchNorm

LOGITS = "logits"
"""The name of the output of a network."""

Rows = Literal["node", "edge", "graph"]
"""The objects for which a value has a row each."""


@dataclass(frozen=True)
class Value:
    """A tensor between two operations, [N, channels]; `rows`: whether rows are nodes, edges or graphs.

    `site`: the site that rounds it. `passed`: later sites that it passes, which an integer program does not have.
    """

    site: str
    channels: int
    rows: Rows = "node"
    passed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Into:
    """The computation after an operation, up to the value of the site `target` (`LOGITS`: float32).

    In this order: `bias` [C] is added; a ReLU and the batch norm `inner`; the batch norm `norm`; the activation (none,
    relu, elu); the value `residual` is added. None: that step is left out.
    """

    target: str
    bias: Tensor | None = None
    inner: BatchNorm | None = None
    norm: BatchNorm | None = None
    activation: str = "none"
    residual: Value | None = None


Factors = tuple[Value, Tensor, str]


class Lowering:
    """A record of operations. Names of sites are relative to the part of the network that is being recorded.

    Each method returns the result of its operation as a `Value`. This base class stores nothing; a subclass stores what
    it needs and calls the method of the base class.
    """

    prefix = ""

    def part(self, name: str) -> Self:
        """The same record for a part of the network, e.g. `layers.0`, whose sites are then named without that."""
        inner = copy(self)
        inner.prefix = f"{self.prefix}{name}."
        return inner

    def into(self, site: str) -> Into:
        """An `Into` without further computation: the result is the value of a site of this part."""
        return Into(self.prefix + site)

    def passed(self, x: Value, *sites: str) -> Value:
        """The value x after it has passed sites of this part."""
        return replace(x, passed=(*x.passed, *(self.prefix + site for site in sites)))

    def result(self, into: Into, channels: int, rows: Rows = "node") -> Value:
        """The result of an operation."""
        return Value(into.target, channels, rows)

    def features(self, channels: int, into: Into) -> Value:
        """Rounds the input features, float32 [N, channels]."""
        return self.result(into, channels)

    def lookup(self, table: Tensor, site: str, into: Into) -> Value:
        """Rows of an embedding table [K, C], whose site is `site`, for the input categories."""
        return self.result(into, table.size(1))

    def linear(self, x: Value, weight: Tensor, site: str, into: Into, *, degree_scale: bool = False) -> Value:
        """x W^T; weight: [M, K], whose site is `site`. `degree_scale`: row i times d_i^-1/2, d the in-degree."""
        return self.result(into, weight.size(0), x.rows)

    def linear_pair(self, first: Factors, second: Factors, into: Into) -> Value:
        """x W^T + y V^T: two values, each with a weight [M, K] and the site of that."""
        return self.result(into, first[1].size(0), first[0].rows)

    def aggregate(
        self,
        x: Value,
        into: Into,
        *,
        mean: bool = False,
        self_weight: float | None = None,
        degree_scale: bool = False,
        edge_weight: str = "",
    ) -> Value:
        """Sums of x over incoming edges, each times the weight of the edge where the graph has weights.

        `mean`: the sum is divided by the number of edges. `self_weight`: that times a node's own row is added.
        `degree_scale`: the sum of row i times d_i^-1/2. `edge_weight`: the site of a factor per edge, where there is
        one.
        """
        return self.result(into, x.channels)

    def attention(
        self, x: Value, vectors: Tensor, sites: tuple[str, str], slope: float, concat: bool, into: Into
    ) -> Value:
        """GAT's attention (`nn.gat`) over x [N, H C]; vectors [2, H, C]; `sites`: of the vectors, of coefficients."""
        return self.result(into, x.channels if concat else vectors.size(2))

    def dynamic_attention(
        self, ends: tuple[Value, Value], vectors: Tensor, sites: tuple[str, str], slope: float, concat: bool, into: Into
    ) -> Value:
        """GATv2's attention (`nn.gatv2`); `ends`: of sources and targets, [N, H C]; vectors: [H, C]; else as above."""
        return self.result(into, ends[0].channels if concat else vectors.size(1))

    def edge_features(self, channels: int, into: Into) -> Value:
        """The input features of edges, float32 [E, channels]."""
        return self.result(into, channels, "edge")

    def edge_lookup(self, table: Tensor, site: str, into: Into) -> Value:
        """Rows of an embedding table [K, C], whose site is `site`, by the categories of edges."""
        return self.result(into, table.size(1), "edge")

    def aggregate_edges(self, x: Value, e: Value, into: Into, *, self_weight: float) -> Value:
        """Sums over incoming edges of ReLU(gathered row of x + row of e), plus `self_weight` times x."""
        return self.result(into, x.channels)

    def readout(self, x: Value, mode: str, into: Into) -> Value:
        """Sum, mean or max of the rows of each graph's nodes."""
        return self.result(into, x.channels, "graph")
