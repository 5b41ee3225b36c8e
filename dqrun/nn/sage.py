"""GraphSAGE with the mean aggregator (Hamilton et al., NeurIPS 2017)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Self

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from dqrun import kernels
from dqrun.config import ModelConfig
from dqrun.graphs import Graph, Rows, SparseRows, dense
from dqrun.nn.layer import Layer, Place
from dqrun.nn.linear import Matrix
from dqrun.nn.lowering import Into, Lowering, Value
from dqrun.nn.propagate import propagate
from dqrun.nn.replaced import SUMS, Replaced, copied, copied_bias
from dqrun.quant import Site, Sites


class SAGELayer(Layer):
    """x'_i = W_n mean_j(x_j) + W_r x_i + b, over the edges as they are (algorithm 1; the product of the concatenation
    is written as a sum of two products, as PyG's `SAGEConv` does).

    With edge weights mean_j(w_ij x_j), divided by the number of edges, as in PyG's `GraphConv(aggr="mean")`. A node
    without edges has mean 0. Site `features` is the mean: the tensor that an integer program stores between the sum
    over edges and the product. Messages without weights are copies of node rows and are rounded as such (`GINLayer`).
    """

    gathers_input = True
    reads_edge_weights = True
    replaces = Replaced(
        "SAGEConv",
        ("size",),
        {**SUMS, "aggr": ("mean",), "normalize": (False,), "project": (False,), "root_weight": (True,)},
    )

    def __init__(
        self, in_channels: int, out_channels: int, dropout: float = 0.0, nonnegative_input: bool = False
    ) -> None:
        super().__init__(in_channels, out_channels)
        self.dropout = dropout
        neighbour, root = nn.Linear(in_channels, out_channels), nn.Linear(in_channels, out_channels, bias=False)
        self.neighbour, self.root, self.bias = Matrix(neighbour.weight), Matrix(root.weight), neighbour.bias
        self.sites = Sites(
            input=Site(nonnegative=nonnegative_input, scalars=in_channels == 1, width=in_channels),
            message=Site(nonnegative=nonnegative_input, scalars=in_channels == 1),
            features=Site(nonnegative=nonnegative_input, scalars=in_channels == 1, width=in_channels),
            output=Site(),
        )

    @classmethod
    def build(cls, config: ModelConfig, place: Place) -> Self:
        return cls(place.in_channels, place.out_channels, place.dropout, place.nonnegative_input)

    def forward(self, x: Rows, graph: Graph, relu: bool = False) -> Tensor:
        """float32 [N, in] -> [N, out]; `relu`: a ReLU follows."""
        sites, csr, protected, weight = self.sites, graph.csr, graph.protected, graph.edge_weight
        x = kernels.summable(csr, x) if weight is None else dense(x)
        x = kernels.dropout(sites.input(x, protected), self.dropout, self.training)
        a = over_degree(propagate(csr, x, weight, sites.message, protected), graph)
        h = self.neighbour(sites.features(a, protected))
        return sites.output(h + self.root(x, self.bias), protected, relu=relu)

    @property
    def sites_before_weights(self) -> list[Site]:
        return [self.sites.input, self.sites.message, self.sites.features]

    def lower(self, to: Lowering, x: Value, into: Into) -> Value:
        x = to.passed(x, "input")
        a = to.aggregate(to.passed(x, "message"), to.into("features"), mean=True)
        first = (a, self.neighbour.weight, "neighbour.weight")
        return to.linear_pair((x, self.root.weight, "root.weight"), first, replace(into, bias=self.bias))

    @classmethod
    def from_pyg(cls, conv: Any) -> Self:
        layer = cls(conv.in_channels, conv.out_channels)
        layer.neighbour.weight, layer.root.weight = copied(conv.lin_l.weight), copied(conv.lin_r.weight)
        layer.bias = copied_bias(conv.lin_l.bias, layer.out_channels, conv.lin_l.weight)
        return layer

    def to_pyg(self, cached: bool = False, weighted: bool = False) -> nn.Module:
        from torch_geometric.nn import GraphConv, SAGEConv

        sizes = self.in_channels, self.out_channels
        conv: nn.Module = GraphConv(*sizes, aggr="mean") if weighted else SAGEConv(*sizes)  # that takes no weights
        neighbour, root = ("lin_rel", "lin_root") if weighted else ("lin_l", "lin_r")
        weights = {f"{neighbour}.weight": self.neighbour.weight, f"{neighbour}.bias": self.bias}
        conv.load_state_dict(weights | {f"{root}.weight": self.root.weight})
        return conv

    @property
    def aggregate_site(self) -> Site:
        return self.sites.features

    @property
    def aggregate_channels(self) -> int:
        return self.in_channels

    def watch_aggregate(self, keep: Callable[[Tensor], Any]) -> RemovableHandle:
        return self.aggregate_site.register_forward_hook(lambda module, arguments, output: keep(dense(output)))


def over_degree(sums: Rows, graph: Graph) -> Rows:
    """Rows divided by the number of edges that enter their node; rows without edges are left."""
    degree = graph.csr.in_degree.clamp(min=1)
    if isinstance(sums, SparseRows):
        return sums.with_values(sums.values / degree[sums.where.places.row])
    return sums / degree.unsqueeze(-1)
