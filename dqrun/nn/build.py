"""Builds networks from configurations."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn

from dqrun import register
from dqrun.config import ModelConfig, RunConfig
from dqrun.config.parts import as_given, own_config
from dqrun.config.rules import require
from dqrun.config.tasks import is_node_task
from dqrun.errors import ConfigError
from dqrun.methods import make_method
from dqrun.nn.layer import Layer, Place
from dqrun.nn.linear import BatchNorm, Embedding, Linear
from dqrun.nn.model import GNN, Head
from dqrun.nn.user import UserNetwork
from dqrun.plugins import place_in_plugin
from dqrun.quant import QuantPlan
from dqrun.quant.row_widths import DegreeRange


def layer_type(config: ModelConfig) -> type[Layer]:
    """The class of the network's message-passing layers; raises ConfigError for an unknown name."""
    found: type[Layer] = register.layer.get(config.name)
    return found


def is_whole(config: ModelConfig) -> bool:
    """Whether `model.name` is a user's whole network (`register.model`), not a layer."""
    return config.name in register.model


def uses_self_loops(config: ModelConfig) -> bool:
    """Whether the architecture passes messages over one self-loop per node."""
    return not is_whole(config) and layer_type(config).uses_self_loops


def reads_edge_weights(config: ModelConfig) -> bool:
    """Whether the architecture's layers read `Graph.edge_weight`."""
    return is_whole(config) or layer_type(config).reads_edge_weights


def reads_edge_features(config: ModelConfig) -> bool:
    """Whether the architecture's layers read `Graph.edge_attr`."""
    return is_whole(config) or layer_type(config).reads_edge_features


def build_layer(
    config: ModelConfig, in_channels: int, out_channels: int, index: int, last: bool, edges: tuple[int, int] = (0, 0)
) -> Layer:
    """Message-passing layer number `index`; `last`: it gives the logits of a node task; `edges`: numbers of channels
    and of categories of edge features."""
    place = Place(
        in_channels=in_channels,
        out_channels=out_channels,
        last=last,
        nonnegative_input=index > 0 and config.activation == "relu" and not config.residual,
        dropout=config.dropout if index > 0 else config.input_dropout,
        edge_channels=edges[0],
        edge_categories=edges[1],
    )
    made = layer_type(config).build(as_given(config), place)
    require(isinstance(made, Layer), f"model={config.name}", "build a Layer", made)
    return made


def build_encoder(config: ModelConfig, in_channels: int, num_categories: int) -> Linear | Embedding | None:
    """An embedding for categories, else the configured encoder."""
    if num_categories:
        return Embedding(num_categories, config.hidden)
    return Linear(in_channels, config.hidden) if config.encoder == "linear" else None


def nonnegative_states(config: ModelConfig, channels: list[int]) -> list[bool]:
    """Whether each node state has no negative values: it follows a ReLU, and a residual adds no negative values.

    `channels`: number of channels of each state.
    """
    known = [False]
    for before, after in pairwise(channels):
        adds = config.residual and before == after
        known.append(config.activation == "relu" and (known[-1] or not adds))
    return known


def build_network(
    config: ModelConfig,
    in_channels: int,
    num_categories: int,
    out_channels: int,
    graph_level: bool,
    edge_channels: int = 0,
    edge_categories: int = 0,
) -> GNN:
    """The network in FP32, initialised from torch's global generator.

    `in_channels`: width of float features; `num_categories`: size of the vocabulary of integer features, or 0.
    `edge_channels`, `edge_categories`: the same for edges, if layers read their features.
    """
    encoder = build_encoder(config, in_channels, num_categories)
    channels = [in_channels if encoder is None else config.hidden, *[config.hidden] * config.layers]
    if not graph_level:
        channels[-1] = out_channels
    edges, last = (edge_channels, edge_categories), None if graph_level else config.layers - 1
    layers = [
        build_layer(config, channels[i], channels[i + 1], i, last=i == last, edges=edges) for i in range(config.layers)
    ]
    hidden = config.layers if graph_level else config.layers - 1
    head = None
    if graph_level:
        sizes = [config.hidden, *(max(1, config.hidden // divisor) for divisor in config.head), out_channels]
        head = Head(sizes, config.head_dropout)
    return GNN(
        layers=layers,
        encoder=encoder,
        norms=[BatchNorm(config.hidden) for _ in range(hidden)] if config.norm == "batch" else None,
        activation=config.activation,
        residual=config.residual,
        readout=config.readout if graph_level else None,
        head=head,
        nonnegative_states=nonnegative_states(config, channels[: hidden + 1]),
        scalar_features=channels[0] == 1,
    )


def build_model(
    config: RunConfig,
    in_channels: int,
    num_categories: int,
    out_channels: int,
    generator: torch.Generator | None = None,
    edge_channels: int = 0,
    edge_categories: int = 0,
    num_nodes: int = 0,
) -> GNN:
    """The network with the quantisers of the run's plan; initial weights do not depend on the quantisers.

    `generator`: for quantisation noise. `num_nodes`: of the single graph of a node task, 0 if there are several graphs.
    """
    graph_level = not is_node_task(config.dataset.task)
    model: GNN
    quantised: nn.Module | None
    if is_whole(config.model):
        model, quantised = build_user_network(config, in_channels, num_categories, out_channels, graph_level)
    else:
        sizes = in_channels, num_categories, out_channels
        model = build_network(config.model, *sizes, graph_level, edge_channels, edge_categories)
        quantised = model
    if quantised is not None:
        method = make_method(config)
        method.extend(quantised)
        QuantPlan(config.quant, config.plan).apply(quantised, method, generator, num_nodes)
        method.arrange(quantised)
        model.degree_readers = [module for module in quantised.modules() if isinstance(module, DegreeRange)]
    return model


def build_user_network(
    config: RunConfig, in_channels: int, num_categories: int, out_channels: int, graph_level: bool
) -> tuple[UserNetwork, nn.Module | None]:
    """A user's network and, in a quantised run, a view of it with the sites that a plan names; else None.

    Raises ConfigError, in one line, where the factory fails or gives no module, and for modules that can't be swapped.
    """
    name, own = config.model.name, own_config(config.model)
    given = () if own is None else (own,)
    try:
        network = register.model.get(name)(*given, num_categories or in_channels, out_channels)
    except Exception as error:  # whatever the user's code raises is reported in one line
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ConfigError(f"model={name} can't be built{place_in_plugin(error)}: {reason}") from error
    require(isinstance(network, nn.Module), f"model={name}", "give a torch.nn.Module", network)
    if config.quant.is_fp32:
        return UserNetwork(network, name, num_categories, graph_level), None
    from dqrun.swap import swap  # imports PyG's layers, which takes a second

    swapped = swap(network, register.model.entry(name).unsupported)
    model = UserNetwork(swapped.model, name, num_categories, graph_level, swapped)
    return model, swapped.view
