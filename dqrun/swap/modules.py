"""dqrun's layers with the signatures of PyG's: the modules of a user's network after the swap."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from dqrun.errors import DataError
from dqrun.graphs import Graph
from dqrun.nn.layer import Layer
from dqrun.nn.linear import BatchNorm, Linear
from dqrun.nn.lowering import Into, Lowering, Value
from dqrun.quant import Site
from dqrun.swap.compiled import compiled_graph
from dqrun.swap.passes import ForwardPass
from dqrun.swap.structures import build


class SwappedConv(nn.Module):
    """A convolution: called as PyG's, `conv(x, edge_index, ...)`.

    `layer`: dqrun's layer with the weights. Site `state`: the input node tensor, which `plan=integer` quantises in
    place of the layer's `input`. `names`: of the arguments after `edge_index`. `self_loops`: whether they are added;
    `loop_weight`: their weight if edges have weights, as in PyG (else 1).
    """

    def __init__(
        self,
        layer: Layer,
        index: int,
        names: tuple[str, ...],
        forward_pass: ForwardPass,
        self_loops: bool = False,
        loop_weight: float = 1.0,
    ) -> None:
        super().__init__()
        self.layer, self.index, self.names = layer, index, names
        self.self_loops, self.loop_weight = self_loops, loop_weight
        self.in_channels, self.out_channels = layer.in_channels, layer.out_channels
        self.state = Site(fp32_by_default=True, scalars=layer.in_channels == 1)
        self._pass = forward_pass

    def forward(self, x: Tensor, edge_index: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """float32 [N, in_channels], int64 [2, E] -> [N, out_channels].

        Raises DataError for invalid input, TypeError for more arguments than PyG's layer has.
        """
        if len(args) > len(self.names):
            most, got = len(self.names) + 2, len(args) + 2
            raise TypeError(f"a quantised {type(self.layer).__name__} takes at most {most} arguments, got {got}")
        given = {**dict(zip(self.names[: len(args)], args, strict=True)), **kwargs}
        weight, attr = (given.pop(name, None) for name in ("edge_weight", "edge_attr"))
        if extra := [name for name, value in given.items() if value is not None]:
            raise DataError(f"{extra[0]} must be None: a quantised {type(self.layer).__name__} does not take it")
        if not isinstance(x, Tensor):
            raise DataError(f"x must be one tensor [N, {self.in_channels}], got {type(x).__name__}")
        for name, value, read in (
            ("edge_weight", weight, self.layer.reads_edge_weights),
            ("edge_attr", attr, self.layer.reads_edge_features),
        ):
            if value is not None and not read:
                raise DataError(f"{name} must be None: a quantised {type(self.layer).__name__} does not read it")
        graph = self._graph(edge_index, x.size(0), weight, attr)
        gathered = graph.csr.out_degree + 1 if self.layer.gathers_input and not self.state.is_fp32 else None
        return self.layer(self.state(x, graph.protected, gathered), graph)  # type: ignore[no-any-return]

    def _graph(self, edge_index: Tensor, num_nodes: int, weight: Tensor | None, attr: Tensor | None) -> Graph:
        """The graph of a call; without edge data it is cached for the next call."""
        known = self._pass.structures
        plain = weight is None and attr is None and self._pass.has_masks(num_nodes, self.training)
        if plain and torch.compiler.is_compiling() and known.own_loops is not None:
            graph = compiled_graph(edge_index, num_nodes, self.self_loops, known.own_loops)
        elif weight is None and attr is None:
            graph = known.graph(edge_index, num_nodes, self.self_loops)
        else:
            graph = build(edge_index, num_nodes, self.self_loops, weight, attr, self.loop_weight)
        return self._pass.masked(graph, edge_index, self.index, self.training)


class SwappedLinear(nn.Module):
    """A linear layer: called as `torch.nn.Linear`."""

    def __init__(self, linear: Linear, forward_pass: ForwardPass) -> None:
        super().__init__()
        self.linear = linear
        self.out_channels, self.in_channels = linear.weight.shape
        self._pass = forward_pass

    def forward(self, x: Tensor) -> Tensor:
        """float32 [..., in_channels] -> [..., out_channels]."""
        rows = x.reshape(-1, x.size(-1))
        y: Tensor = self.linear(rows, self._pass.protected(rows.size(0), self.training))
        return y.view(*x.shape[:-1], y.size(-1))


class SwappedNorm(nn.Module):
    """A batch norm: called as `torch.nn.BatchNorm1d`."""

    def __init__(self, norm: BatchNorm, forward_pass: ForwardPass) -> None:
        super().__init__()
        self.norm = norm
        self._pass = forward_pass

    def forward(self, x: Tensor) -> Tensor:
        """float32 [N, C] -> [N, C]."""
        return self.norm(x, self._pass.protected(x.size(0), self.training))  # type: ignore[no-any-return]


class SwappedPool(nn.Module):
    """Sums, means or maxima over the nodes of each graph: called as PyG's aggregation.

    Site `state`: the node tensor that is pooled, which `plan=integer` quantises. `mode`: sum, mean or max.
    """

    def __init__(self, pool: nn.Module, mode: str, forward_pass: ForwardPass) -> None:
        super().__init__()
        self.pool, self.mode = pool, mode
        self.state = Site(fp32_by_default=True)
        self._pass = forward_pass

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """float32 [N, C] -> [G, C]."""
        state = self.state(x, self._pass.protected(x.size(0), self.training))
        return self.pool(state, *args, **kwargs)  # type: ignore[no-any-return]


class Inner(nn.Module):
    """A user's network inside of a convolution (GIN's `nn`), which dqrun's layer calls with a mask.

    It ignores the argument: its modules get the mask from the `ForwardPass`.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, protected: Tensor | None = None) -> Tensor:
        return self.network(x)  # type: ignore[no-any-return]

    def lower(self, to: Lowering, x: Value, into: Into) -> Value:
        """Records a chain of linear layers in `to`; x: the value of the site `0.input`."""
        from dqrun.swap.lowering import lower_inner  # it reads chains of these modules

        return lower_inner(self.network, to, x, into)
