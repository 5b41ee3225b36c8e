"""Quantised networks with random parameters, and graphs to run them on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dqrun.composition.compose import load_configs
from dqrun.config import ModelConfig, ObserverConfig, PlanConfig, QuantConfig
from dqrun.graphs import Graph
from dqrun.integer.structure import build_graph
from dqrun.methods.naive import Naive, NaiveConfig
from dqrun.nn import GNN
from dqrun.nn.build import build_network, uses_self_loops
from dqrun.quant import QuantPlan
from dqrun.quant.plan import split_parameters

CHANNELS, CLASSES = 5, 3


@pytest.fixture(scope="session")
def integer_plan() -> PlanConfig:
    """`plan=integer` as it is shipped."""
    return load_configs(["model=gcn", "plan=integer"])[0].plan


@pytest.fixture(scope="session")
def random_graph() -> Callable[..., tuple[Tensor, Tensor, Tensor]]:
    """Makes PyG's edge_index and batch of a multigraph with self-loops and isolated nodes, and features."""

    def make(num_nodes: int, num_edges: int, num_graphs: int, seed: int, categories: int = 0) -> tuple[Tensor, ...]:
        generator = torch.Generator().manual_seed(seed)
        edge_index = torch.randint(max(num_nodes, 1), (2, num_edges if num_nodes else 0), generator=generator)
        batch = torch.arange(num_nodes) * num_graphs // max(num_nodes, 1)
        x = torch.randn(num_nodes, CHANNELS, generator=generator)
        if categories:
            x = torch.randint(categories, (num_nodes,), generator=generator)
        return x, edge_index, batch

    return make


@pytest.fixture(scope="session")
def trained(integer_plan: PlanConfig, random_graph: Callable[..., tuple[Tensor, ...]]) -> Callable[..., GNN]:
    """Makes a network whose parameters are random and whose quantisers have observed a few batches.

    `rows`: the offset and the scale of rows that have ranges of their own; empty: of the tensor.
    """

    def make(
        name: str,
        weight_bits: int = 8,
        activation_bits: int = 8,
        graph_level: bool = True,
        categories: int = 0,
        seed: int = 0,
        plan: PlanConfig = integer_plan,
        learned_scale: bool = False,
        weight_granularity: str = "tensor",
        rows: Sequence[str] = (),
        **options: Any,
    ) -> GNN:
        config = ModelConfig(**({"name": name, "layers": 2, "hidden": 8, "heads": 2} | options))
        observers = ObserverConfig(tail=0.01), ObserverConfig()
        method = NaiveConfig(
            kind="naive", name="test", observer=observers[0], weight_observer=observers[1], learned_scale=learned_scale
        )
        quant = QuantConfig(
            bits=activation_bits,
            weight_bits=weight_bits,
            activation_bits=activation_bits,
            weight_granularity=weight_granularity,
            **dict(zip(("row_offset", "row_scale"), rows, strict=False)),
            activation_granularity="row" if rows else "tensor",
        )
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model = build_network(config, 0 if categories else CHANNELS, categories, CLASSES, graph_level)
            for module in model.modules():
                for parameter in module.parameters(recurse=False):
                    if parameter.dim() == 1:
                        nn.init.normal_(parameter, 0.0, 0.5)
            QuantPlan(quant, plan).apply(model, Naive(method))
            for step in range(3):
                x, edge_index, batch = random_graph(60, 200, 4, seed + 1000 + step, categories)
                model(x, build_graph(edge_index, 60, batch, uses_self_loops(config)))
            for parameter in split_parameters(model)[1]:
                parameter.data.add_(0.3 * torch.randn(parameter.shape))
        return model.eval()

    return make


@pytest.fixture(scope="session")
def graph_for() -> Callable[[GNN, Tensor, Tensor], Graph]:
    """Makes the structure on which a network runs, with self-loops where it wants them."""

    def make(model: GNN, edge_index: Tensor, batch: Tensor) -> Graph:
        return build_graph(edge_index, batch.numel(), batch, bool(model.layers[0].uses_self_loops))

    return make
