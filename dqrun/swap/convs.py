"""PyG's convolutions as dqrun's layers with the same weights; what a layer can't do is refused in one line.

Which class a layer replaces, and how, the layer says itself (`Layer.replaces`, `Layer.from_pyg`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch_geometric.nn
from torch import nn

from dqrun import register
from dqrun.errors import ConfigError
from dqrun.nn.layer import Layer
from dqrun.nn.replaced import Replaced


@dataclass(frozen=True)
class Conv:
    """A layer that takes the place of a class of PyG; `name`: the layer's in the registry."""

    name: str
    layer: type[Layer]
    replaced: Replaced


def convs() -> Mapping[type[nn.Module], Conv]:
    """The layers by the class itself: a subclass may compute something else."""
    return _convs(register.layer.names())


@cache
def _convs(names: tuple[str, ...]) -> dict[type[nn.Module], Conv]:
    layers = {name: register.layer.get(name) for name in names}
    found = {name: layer for name, layer in layers.items() if getattr(layer, "replaces", None) is not None}
    return {
        getattr(torch_geometric.nn, layer.replaces.name): Conv(name, layer, layer.replaces)
        for name, layer in found.items()
    }


def check_conv(name: str, conv: Any, kind: Conv) -> None:
    """Raises ConfigError, with the module's name, for an option that the layer does not have."""
    what = f"{name} ({type(conv).__name__})"
    for option, allowed in kind.replaced.demands.items():
        value = getattr(conv, option, allowed[0])
        if value not in allowed:
            raise ConfigError.rule(f"{what}: {option}", f"be {allowed[0]} to be quantised", value)
    if not isinstance(getattr(conv, "in_channels", 1), int):
        raise ConfigError.rule(f"{what}: in_channels", "be one number to be quantised", conv.in_channels)
