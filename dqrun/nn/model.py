"""`GNN`: a network of encoder, message-passing layers, readout and head."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from dqrun import kernels
from dqrun.graphs import Graph, Rows, dense
from dqrun.nn.layer import Layer
from dqrun.nn.linear import BatchNorm, Embedding, Linear, lower_chain
from dqrun.nn.lowering import LOGITS, Into, Lowering, Value
from dqrun.quant import Site
from dqrun.quant.row_widths import DegreeRange

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"elu": F.elu, "none": lambda x: x}  # a ReLU is left to sites


class Head(nn.ModuleList):
    """Linear layers with ReLU between, dropout before the last."""

    def __init__(self, channels: list[int], dropout: float) -> None:
        super().__init__([Linear(a, b, nonnegative_input=i > 0) for i, (a, b) in enumerate(pairwise(channels))])
        self.dropout = dropout

    def forward(self, x: Tensor) -> Tensor:
        """float32 [G, channels[0]] -> [G, channels[-1]]."""
        for i, linear in enumerate(self):
            last = i == len(self) - 1
            x = F.dropout(x, self.dropout, self.training) if last else x
            x = linear(x, relu=not last)
        return x

    def lower(self, to: Lowering, x: Value, into: Into) -> Value:
        """Records its products in `to`; x: the value of the site `0.input`."""
        return lower_chain(to, self.linears, x, into)

    @property
    def linears(self) -> list[Linear]:
        """Its layers."""
        return cast(list[Linear], list(self))


class GNN(nn.Module):
    """A graph network for node tasks (`readout=None`: the last layer gives the logits) or graph tasks.

    `encoder`: maps features to the first layer's channels, or None. `layers`: message passing. `norms`: one per
    hidden layer, or None. With `residual` a hidden layer's input is added to its output where the shapes agree.

    Sites `states.I`: state I is the node tensor that layer I, its residual and (the last state) the readout read. State
    0 is the input of the first layer, state I the output of hidden layer I - 1 after norm, activation and residual. A
    plan quantises either the states or the layers' own `input`; without a rule states stay in FP32.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        encoder: Linear | Embedding | None = None,
        norms: list[BatchNorm] | None = None,
        activation: str = "relu",
        residual: bool = False,
        readout: str | None = None,
        head: Head | None = None,
        nonnegative_states: Sequence[bool] = (),
        scalar_features: bool = False,
    ) -> None:
        """`nonnegative_states`: of each state, whether it has no negative values; empty: nothing is known.

        `scalar_features`: state 0 is one number for each node.
        """
        super().__init__()
        self.encoder = encoder
        self.layers = nn.ModuleList(layers)
        self.norms = None if norms is None else nn.ModuleList(norms)
        self.activation, self.residual, self.readout = activation, residual, readout
        self.head = head
        self.degree_readers: list[DegreeRange] = []
        """Quantisers that need the in-degrees of each graph."""
        signs = nonnegative_states or [False] * (self.num_hidden + 1)
        self.states = nn.ModuleList(
            Site(nonnegative=sign, fp32_by_default=True, scalars=scalar_features and i == 0)
            for i, sign in enumerate(signs)
        )
        for site in self._sites_before_weights():
            site.may_be_sparse = True

    def _sites_before_weights(self) -> list[Site]:
        """The sites of features, and of sums of features, that no weight has multiplied yet."""
        if not self.layers:  # a user's network, which gets dense features
            return []
        if self.encoder is not None:
            return [self.encoder.sites.input] if isinstance(self.encoder, Linear) else []
        return [cast(Site, self.states[0]), *self.message_passing[0].sites_before_weights]

    @property
    def message_passing(self) -> list[Layer]:
        """Its layers."""
        return cast(list[Layer], list(self.layers))

    @property
    def num_layers(self) -> int:
        """Number of message-passing layers, each of which may have a mask of its own."""
        return len(self.layers)

    @property
    def quantised(self) -> nn.Module:
        """The module whose sites a plan names."""
        return self

    @property
    def uses_self_loops(self) -> bool:
        """Whether its layers need one self-loop per node."""
        return self.message_passing[0].uses_self_loops

    @property
    def num_hidden(self) -> int:
        """Number of layers that give node states; in node tasks the last layer gives the logits instead."""
        return len(self.layers) - (self.readout is None)

    def forward(self, x: Rows, graph: Graph) -> Tensor:
        """Features float32 [N, F] (or int64 [N] for an embedding) -> logits [N, C] or, with a readout, [G, C]."""
        return self.classify(self.embed(x, graph), graph)

    def embed(self, x: Rows, graph: Graph) -> Rows:
        """The states before the logits: the last of nodes [N, H] or, with a readout, the pooled ones [G, H]."""
        x = self.enter(x, graph)
        for i in range(self.num_hidden):
            x = self.step(i, x, graph)
        return x if self.readout is None else kernels.segment_reduce(dense(x), graph.node_ptr, self.readout)

    def enter(self, x: Rows, graph: Graph) -> Rows:
        """State 0, from the features."""
        self._tell_degrees(graph)
        if self.encoder is not None:
            x = self.encoder(x, graph.layer(0).protected)
        return self._state(0, x, graph)

    def step(self, i: int, x: Rows, graph: Graph) -> Rows:
        """State i + 1, which hidden layer i makes of state i."""
        self._tell_degrees(graph)
        return self._state(i + 1, self._hidden(i, x, graph.layer(i)), graph)

    def classify(self, states: Rows, graph: Graph) -> Tensor:
        """Logits from the result of `embed`: by the last layer in node tasks, else by the head (if there is one)."""
        if self.readout is None:
            self._tell_degrees(graph)
            logits: Tensor = self.layers[-1](states, graph.layer(self.num_hidden))
            return logits
        pooled = dense(states)
        return pooled if self.head is None else self.head(pooled)

    def _tell_degrees(self, graph: Graph) -> None:
        for reader in self.degree_readers:
            reader.degree = graph.in_degree

    def _state(self, i: int, x: Rows, graph: Graph) -> Rows:
        """State i. Where edges gather it, its range counts a row once for each of them and once as the node's own."""
        entered = min(i, len(self.layers) - 1)  # the last state has the mask of the last layer
        gathered = i < len(self.layers) and self.layers[i].gathers_input
        rounded: Rows = self.states[i](
            x, graph.layer(entered).protected, graph.csr.out_degree + 1 if gathered else None
        )
        return rounded

    def _hidden(self, i: int, x: Rows, graph: Graph) -> Tensor:
        relu = self.activation == "relu"
        h: Tensor = self.layers[i](x, graph, relu=relu and self.norms is None)
        if self.norms is not None:
            h = self.norms[i](h, graph.protected, relu=relu)
        if not relu:
            h = ACTIVATIONS[self.activation](h)
        return dense(x) + h if self.residual and x.shape == h.shape else h

    def lower(self, to: Lowering) -> bool:
        """Records all operations in `to`, from input features to logits; returns `uses_self_loops`."""
        x = self._lower_encoder(to)
        for i, layer in enumerate(self.message_passing):
            x = layer.lower(to.part(f"layers.{i}"), x, self._following(i, x))
        if self.readout is None:
            return self.uses_self_loops
        if self.head is None:
            to.readout(x, self.readout, Into(LOGITS))
            return self.uses_self_loops
        pooled = to.readout(x, self.readout, to.into("head.0.input"))
        self.head.lower(to.part("head"), pooled, Into(LOGITS))
        return self.uses_self_loops

    def _lower_encoder(self, to: Lowering) -> Value:
        """From the features to state 0."""
        state, encoder = to.into("states.0"), self.encoder
        if encoder is None:
            return to.features(self.message_passing[0].in_channels, state)
        part = to.part("encoder")
        if isinstance(encoder, Embedding):
            return encoder.lower(part, state)
        return encoder.lower(part, to.features(encoder.weight.size(1), part.into("input")), state)

    def _following(self, i: int, x: Value) -> Into:
        """The operations after layer i, which reads x."""
        if i == self.num_hidden:
            return Into(LOGITS)
        norm = None if self.norms is None else self.norms[i]
        assert norm is None or isinstance(norm, BatchNorm)
        adds = self.residual and x.channels == self.message_passing[i].out_channels
        return Into(f"states.{i + 1}", norm=norm, activation=self.activation, residual=x if adds else None)
