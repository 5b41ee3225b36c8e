"""`Layer`: interface of a message-passing layer. One file and one registration make a layer available everywhere."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from dqrun.config import ModelConfig
from dqrun.errors import ConfigError
from dqrun.graphs import Graph, Rows
from dqrun.nn.lowering import Into, Lowering, Value
from dqrun.nn.replaced import Replaced
from dqrun.quant import Site, Sites


@dataclass(frozen=True)
class Place:
    """The position of a layer in a network, and the sizes that follow from it.

    `in_channels`, `out_channels`: of the layer's input and output. `last`: it gives the logits of a node task.
    `nonnegative_input`: the input has no negative values. `dropout`: rate of the dropout of the input.
    `edge_channels`: width of the float features of edges, or `edge_categories`: number of their categories; 0 for none.
    """

    in_channels: int
    out_channels: int
    last: bool = False
    nonnegative_input: bool = False
    dropout: float = 0.0
    edge_channels: int = 0
    edge_categories: int = 0


class Layer(nn.Module):
    """A message-passing layer, from node rows [N, in_channels] to [N, out_channels].

    A subclass is registered with `@register.layer(NAME)`. It defines `build` and `forward`. Optional: `lower`, for
    integer programs and costs; `to_pyg`, PyG's equivalent, for `dqrun bench`.
    """

    uses_self_loops: ClassVar[bool] = False
    """Whether it runs over a graph whose edges hold one self-loop per node, else over the edges as they are."""
    gathers_input: ClassVar[bool] = False
    """Whether edges gather the rows that enter, rather than a product of these: their range counts them so often."""
    reads_edge_weights: ClassVar[bool] = False
    """Whether it reads `Graph.edge_weight`."""
    reads_edge_features: ClassVar[bool] = False
    """Whether it reads `Graph.edge_attr`."""

    replaces: ClassVar[Replaced | None] = None
    """The class of PyG in whose place `dqrun.quantize` puts what `from_pyg` makes of a layer of it; None: no class."""

    in_channels: int
    out_channels: int
    sites: Sites

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.in_channels, self.out_channels = in_channels, out_channels

    @classmethod
    @abstractmethod
    def build(cls, config: ModelConfig, place: Place) -> Self:
        """The layer of a network of this configuration at a place."""

    @abstractmethod
    def forward(self, x: Rows, graph: Graph, relu: bool = False) -> Tensor:
        """float32 [N, in_channels] -> [N, out_channels]; `relu`: a ReLU follows."""

    def lower(self, to: Lowering, x: Value, into: Into) -> Value:
        """Records the operations of the layer in `to`, from the value x to the value that `into` describes."""
        raise ConfigError(f"{type(self).__name__} has no integer program and no known costs: it does not define lower")

    def to_pyg(self, cached: bool = False, weighted: bool = False) -> nn.Module:
        """PyG's layer with the same weights, called as `layer(x, edge_index)`, or with weights or features of edges.

        `cached`: it is used with one graph only and may keep values computed from it. `weighted`: edges have weights.
        Imports PyG; no other part of a layer does.
        """
        raise ConfigError(f"{type(self).__name__} has no layer of PyG to be compared with: it does not define to_pyg")

    @classmethod
    def from_pyg(cls, conv: Any) -> Self:
        """A layer with copies of the parameters of `conv`, an instance of the PyG class that it replaces.

        The caller sets `mlp` afterwards, from the attribute that `Replaced.network` names.
        """
        raise ConfigError(f"{cls.__name__} replaces no layer of PyG: it does not define from_pyg")

    @property
    def sites_before_weights(self) -> list[Site]:
        """The sites of rows that no weight of the layer has multiplied yet: the input, or sums of it over edges."""
        return [site for name, site in self.sites.named_children() if name == "input" and isinstance(site, Site)]

    @property
    def aggregate_site(self) -> Site:
        """The site of the sum over edges, before any further operation."""
        return self.sites.aggregate

    @property
    def aggregate_channels(self) -> int:
        """Number of elements in a row of the sum over edges."""
        return self.out_channels

    def watch_aggregate(self, keep: Callable[[Tensor], Any]) -> RemovableHandle:
        """Calls `keep` with the layer's sums over edges, float32 [N, ...], in each later forward pass."""
        return self.aggregate_site.register_forward_hook(lambda module, arguments, output: keep(output))
