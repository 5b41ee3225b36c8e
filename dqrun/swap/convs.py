"""Converts PyG's convolutions to dqrun's layers with the same weights; unsupported options raise errors of one line.

A layer itself states which class it replaces, and how (`Layer.replaces`, `Layer.from_pyg`).
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
    """A layer that replaces a class of PyG; `name`: the layer's name in the registry."""

    name: str
    layer: type[Layer]
    replaced: Replaced


def convs() -> Mapping[type[nn.Module], Conv]:
    """The layers by the exact class that they replace: a subclass may have another equation."""
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
