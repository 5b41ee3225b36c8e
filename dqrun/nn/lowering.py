"""`Lowering`: where a network writes down the operations that it is made of, each once and in order.

A layer says what it computes in one method, `lower(to, x, into)`, as calls of `to`. Whoever passes `to` decides what
becomes of them: the operations of an integer program (`integer.lower`), their costs (`nn.costs`), or the batch
norms of a copy in float64 (`integer.simulation`). A value is named by the site whose values it holds.
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
    """A tensor between two operations, [N, channels]; `rows`: nodes, edges or graphs have a row each.

    `site`: the site whose values it holds. `passed`: sites after it, which an integer program does not have.
    """

    site: str
    channels: int
    rows: Rows = "node"
    passed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Into:
    """The computation after an operation, up to the value of the site `target` (`LOGITS`: float32).

    In this order: `bias` [C] is added; `inner`, a batch norm behind a ReLU; `norm`, a batch norm; the activation (none,
    relu, elu); `residual`, a value, is added.
    """

    target: str
    bias: Tensor | None = None
    inner: BatchNorm | None = None
    norm: BatchNorm | None = None
    activation: str = "none"
    residual: Value | None = None


Factors = tuple[Value, Tensor, str]


class Lowering:
    """A record of operations. Names of sites are those of the part of the network that is being written down.

    Each method gives the value that its operation makes. Here nothing is kept of it: a subclass does, and calls this.
    """

    prefix = ""

    def part(self, name: str) -> Self:
        """The same record for a part of the network, e.g. `layers.0`, whose sites are then named without that."""
        inner = copy(self)
        inner.prefix = f"{self.prefix}{name}."
        return inner

    def into(self, site: str) -> Into:
        """States that a result is the value of a site of this part, without an operation in between."""
        return Into(self.prefix + site)

    def passed(self, x: Value, *sites: str) -> Value:
        """x, once it has passed sites of this part."""
        return replace(x, passed=(*x.passed, *(self.prefix + site for site in sites)))

    def result(self, into: Into, channels: int, rows: Rows = "node") -> Value:
        """The result of an operation."""
        return Value(into.target, channels, rows)

    def features(self, channels: int, into: Into) -> Value:
        """The features that enter, float32 [N, channels], rounded."""
        return self.result(into, channels)

    def lookup(self, table: Tensor, site: str, into: Into) -> Value:
        """Rows of an embedding table [K, C], whose site is `site`, by the categories that enter."""
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
        """The features of edges that enter, float32 [E, channels]."""
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
