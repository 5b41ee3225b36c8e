"""`GNN`: encoder, message-passing layers, readout and head, put together."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dqrun import kernels
from dqrun.graph import Graph
from dqrun.nn.gat import GATLayer
from dqrun.nn.gcn import GCNLayer
from dqrun.nn.gin import GINLayer
from dqrun.nn.linear import BatchNorm, Linear

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"relu": torch.relu, "elu": F.elu, "none": lambda x: x}
Layer = GCNLayer | GATLayer | GINLayer


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


class GNN(nn.Module):
    """A graph network for node tasks (`readout=None`: the last layer gives the logits) or graph tasks.

    `encoder`: maps features to the first layer's channels, or None. `layers`: message passing. `norms`: one per
    hidden layer, or None. With `residual` a hidden layer's input is added to its output where the shapes agree.
    """

    def __init__(
        self,
        layers: list[Layer],
        encoder: nn.Module | None = None,
        norms: list[BatchNorm] | None = None,
        activation: str = "relu",
        residual: bool = False,
        readout: str | None = None,
        head: Head | None = None,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.layers = nn.ModuleList(layers)
        self.norms = None if norms is None else nn.ModuleList(norms)
        self.activation, self.residual, self.readout = activation, residual, readout
        self.head = head

    def forward(self, x: Tensor, graph: Graph) -> Tensor:
        """Features float32 [N, F] (or int64 [N] for an embedding) -> logits [N, C] or, with a readout, [G, C]."""
        if self.encoder is not None:
            x = self.encoder(x, graph.layer(0).keep)
        hidden = len(self.layers) - (self.readout is None)
        for i in range(hidden):
            x = self._hidden(i, x, graph.layer(i))
        if self.readout is None:
            logits: Tensor = self.layers[-1](x, graph.layer(hidden))
            return logits
        x = kernels.segment_reduce(x, graph.node_ptr, self.readout)
        return x if self.head is None else self.head(x)

    def _hidden(self, i: int, x: Tensor, graph: Graph) -> Tensor:
        h: Tensor = self.layers[i](x, graph)
        if self.norms is not None:
            h = self.norms[i](h, graph.keep, relu=self.activation == "relu")
        if self.norms is None or self.activation != "relu":
            h = ACTIVATIONS[self.activation](h)
        return x + h if self.residual and x.shape == h.shape else h
