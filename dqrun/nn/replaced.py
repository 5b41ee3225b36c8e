"""`Replaced`: the class of PyG that a layer replaces in a user's network, and helpers that copy its parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

SUMS: Mapping[str, tuple[Any, ...]] = {
    "aggr": ("add", "sum"),
    "flow": ("source_to_target",),
    "decomposed_layers": (1,),
    "explain": (None, False),
}
"""What every layer that adds messages up asks of PyG's."""


@dataclass(frozen=True)
class Replaced:
    """A class of PyG whose equation is a layer's.

    `name`: of the class in `torch_geometric.nn`. `names`: of the arguments of its `forward` after `edge_index`.
    `demands`: attributes and the values that they must have for the layer to replace it. `network`: the attribute with
    the user's inner network, which becomes the layer's `mlp`.
    """

    name: str
    names: tuple[str, ...]
    demands: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    network: str = ""


def copied(weight: Tensor, trained: bool | None = None) -> nn.Parameter:
    """A copy of a parameter; `trained`: whether it is trained, None: as `weight` is."""
    own = weight.detach().clone(memory_format=torch.contiguous_format)
    return nn.Parameter(own, requires_grad=weight.requires_grad if trained is None else trained)


def copied_bias(bias: Tensor | None, channels: int, like: Tensor) -> nn.Parameter:
    """A bias; zeros that are not trained where PyG's layer has none."""
    return nn.Parameter(like.new_zeros(channels), requires_grad=False) if bias is None else copied(bias)


def inner_sizes(conv: Any) -> tuple[int, int]:
    """Input and output channels of the inner network, read from its linear layers; 1 if it has none."""
    linears = [module for module in conv.nn.modules() if hasattr(module, "weight") and module.weight.dim() == 2]
    return (linears[0].weight.size(1), linears[-1].weight.size(0)) if linears else (1, 1)


def eps_of(conv: Any) -> nn.Parameter:
    """GIN's epsilon, trained where PyG's layer trains it."""
    return nn.Parameter(conv.eps.detach().clone().view(1), requires_grad=isinstance(conv.eps, nn.Parameter))
