"""PyG's convolutions as dqrun's layers with the same weights; what a layer can't do is refused in one line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.nn import GATConv, GATv2Conv, GCNConv, GINConv, GINEConv, SAGEConv

from dqrun.errors import ConfigError
from dqrun.nn.attention import NEGATIVE_SLOPE
from dqrun.nn.gat import GATLayer
from dqrun.nn.gatv2 import GATv2Layer
from dqrun.nn.gcn import GCNLayer
from dqrun.nn.gin import GINLayer
from dqrun.nn.gine import GINELayer
from dqrun.nn.layer import Layer
from dqrun.nn.sage import SAGELayer


@dataclass(frozen=True)
class Conv:
    """How a class of PyG becomes a layer, whose registered name is `name`.

    `make`: the layer with copies of the weights; a network inside of it is put in by `swap`. `names`: of the
    arguments of PyG's `forward` after `edge_index`. `demands`: values of attributes without which it can't be swapped.
    `network`: the attribute that holds a network of the user's.
    """

    name: str
    make: Callable[[Any], Layer]
    names: tuple[str, ...]
    demands: dict[str, tuple[Any, ...]]
    network: str = ""


def gcn(conv: Any) -> Layer:
    layer = GCNLayer(conv.in_channels, conv.out_channels)
    layer.weight = copied(conv.lin.weight.t(), conv.lin.weight.requires_grad)
    layer.bias = copied_bias(conv.bias, layer.out_channels, conv.lin.weight)
    return layer


def gat(conv: Any) -> Layer:
    layer = GATLayer(conv.in_channels, conv.out_channels, conv.heads, conv.concat, attention_dropout=conv.dropout)
    layer.weight = copied(conv.lin.weight.t(), conv.lin.weight.requires_grad)
    layer.attention = copied(torch.cat([conv.att_src, conv.att_dst]), conv.att_src.requires_grad)
    layer.bias = copied_bias(conv.bias, layer.out_channels, conv.lin.weight)
    return layer


def sage(conv: Any) -> Layer:
    layer = SAGELayer(conv.in_channels, conv.out_channels)
    layer.neighbour.weight, layer.root.weight = copied(conv.lin_l.weight), copied(conv.lin_r.weight)
    layer.bias = copied_bias(conv.lin_l.bias, layer.out_channels, conv.lin_l.weight)
    return layer


def gatv2(conv: Any) -> Layer:
    sizes = conv.in_channels, conv.out_channels, conv.heads, conv.concat
    layer = GATv2Layer(*sizes, attention_dropout=conv.dropout, share_weights=conv.share_weights)
    for matrix, linear in ((layer.source, conv.lin_l), (layer.target, conv.lin_r)):
        if matrix is not None:
            matrix.weight = copied(linear.weight)
            matrix.bias = None if linear.bias is None else copied(linear.bias)
    layer.attention = copied(conv.att.squeeze(0), conv.att.requires_grad)
    layer.bias = copied_bias(conv.bias, layer.out_channels, conv.lin_l.weight)
    return layer


def gin(conv: Any) -> Layer:
    """The network inside is put in afterwards."""
    layer = GINLayer(*inner_sizes(conv), hidden_channels=1)
    layer.eps = eps_of(conv)
    return layer


def gine(conv: Any) -> Layer:
    """The network inside is put in afterwards."""
    edge_channels = inner_sizes(conv)[0] if conv.lin is None else conv.lin.weight.size(1)
    layer = GINELayer(*inner_sizes(conv), hidden_channels=1, edge_channels=edge_channels)
    layer.eps = eps_of(conv)
    if conv.lin is None:
        layer.edge = GivenRows()  # type: ignore[assignment]
    else:
        layer.edge.weight = copied(conv.lin.weight)
        layer.edge.bias = copied(conv.lin.bias)
    return layer


class GivenRows(nn.Module):
    """Edge features of the width of the nodes', which are added to messages as they are."""

    def forward(self, x: Tensor, protected: Tensor | None = None) -> Tensor:
        return x


def inner_sizes(conv: Any) -> tuple[int, int]:
    """Channels that enter and leave the network inside, by its linear layers; 1 where it has none."""
    linears = [module for module in conv.nn.modules() if hasattr(module, "weight") and module.weight.dim() == 2]
    return (linears[0].weight.size(1), linears[-1].weight.size(0)) if linears else (1, 1)


def eps_of(conv: Any) -> nn.Parameter:
    """GIN's epsilon, trained where PyG's layer trains it."""
    return nn.Parameter(conv.eps.detach().clone().view(1), requires_grad=isinstance(conv.eps, nn.Parameter))


def copied(weight: Tensor, trained: bool | None = None) -> nn.Parameter:
    """A parameter of the same values in memory of its own; trained where the given one is."""
    own = weight.detach().clone(memory_format=torch.contiguous_format)
    return nn.Parameter(own, requires_grad=weight.requires_grad if trained is None else trained)


def copied_bias(bias: Tensor | None, channels: int, like: Tensor) -> nn.Parameter:
    """A bias; zeros that are not trained where PyG's layer has none."""
    return nn.Parameter(like.new_zeros(channels), requires_grad=False) if bias is None else copied(bias)


_SUMS = {"aggr": ("add", "sum"), "flow": ("source_to_target",), "decomposed_layers": (1,), "explain": (None, False)}
CONVS: dict[type[nn.Module], Conv] = {
    GCNConv: Conv("gcn", gcn, ("edge_weight",), {**_SUMS, "normalize": (True,)}),
    GATConv: Conv(
        "gat",
        gat,
        ("edge_attr", "size", "return_attention_weights"),
        {**_SUMS, "negative_slope": (NEGATIVE_SLOPE,), "edge_dim": (None,), "residual": (False,)},
    ),
    GATv2Conv: Conv(
        "gatv2",
        gatv2,
        ("edge_attr", "return_attention_weights"),
        {**_SUMS, "negative_slope": (NEGATIVE_SLOPE,), "edge_dim": (None,), "residual": (False,)},
    ),
    SAGEConv: Conv(
        "sage",
        sage,
        ("size",),
        {**_SUMS, "aggr": ("mean",), "normalize": (False,), "project": (False,), "root_weight": (True,)},
    ),
    GINConv: Conv("gin", gin, ("size",), _SUMS, network="nn"),
    GINEConv: Conv("gine", gine, ("edge_attr", "size"), _SUMS, network="nn"),
}
"""By the class itself: a subclass may compute something else."""


def check_conv(name: str, conv: Any, kind: Conv) -> None:
    """Raises ConfigError, with the module's name, for an option that the layer does not have."""
    what = f"{name} ({type(conv).__name__})"
    for option, allowed in kind.demands.items():
        value = getattr(conv, option, allowed[0])
        if value not in allowed:
            raise ConfigError.rule(f"{what}: {option}", f"be {allowed[0]} to be quantised", value)
    if not isinstance(getattr(conv, "in_channels", 1), int):
        raise ConfigError.rule(f"{what}: in_channels", "be one number to be quantised", conv.in_channels)
