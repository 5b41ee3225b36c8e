"""Groups of the inputs of a weight's output channels: what each shares, and who refuses them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from dqrun.analysis.perturbation import WeightBits
from dqrun.composition.compose import load_configs
from dqrun.config import PlanConfig, QuantConfig, RunConfig
from dqrun.errors import ConfigError
from dqrun.graphs.pyg import build_graph
from dqrun.integer.lower import require_program
from dqrun.methods import make_method
from dqrun.nn.build import build_model
from dqrun.quant import QuantPlan, Site, named_sites
from dqrun.quant.granularity import Granularity
from dqrun.quant.groups import Groups

WORDS = ("model=gcn", "model.hidden=12", "model.layers=2", "quant.weight_granularity=group", "quant.group_size=5")
SHAPES = [((3, 8), (0,)), ((8, 3), (1,)), ((2, 3, 8), (0, 1))]


def config(*words: str) -> RunConfig:
    (found,) = load_configs([*WORDS, *words])
    return found


@pytest.mark.parametrize(("shape", "channels"), SHAPES)
@pytest.mark.parametrize("size", [1, 4, 5, 100])
def test_what_was_split_is_joined_again(shape: tuple[int, ...], channels: tuple[int, ...], size: int) -> None:
    weight, groups = torch.randn(shape), Groups(shape, channels, size)
    split = groups.split(weight)
    assert split.shape == groups.split_shape and split.size(2) == min(size, 8)
    assert torch.equal(groups.join(split), weight)
    assert set(split[0, -1].tolist()) <= set(
        weight.movedim(channels, tuple(range(len(channels)))).flatten()[:8].tolist()
    )


def by_hand(weight: Tensor, size: int) -> Tensor:
    """INT4 on a symmetric grid of 15 codes, group by group of each row."""
    parts = []
    for part in weight.split(size, dim=1):
        scale = part.abs().amax(1, keepdim=True) / 7
        parts.append((part / scale).round().clamp(-7, 7) * scale)
    return torch.cat(parts, 1)


@pytest.mark.parametrize("transposed", [False, True])
def test_each_group_has_the_scale_of_its_own_inputs(transposed: bool) -> None:
    weight = torch.randn(4, 13) * torch.logspace(-2, 2, 13)
    given = weight.t().contiguous() if transposed else weight
    model = torch.nn.Module()
    model.weight = Site(given, channels=(1,) if transposed else (0,))
    quant = QuantConfig(4, 4, 4, symmetric_weights=True, weight_granularity="group", group_size=5)
    QuantPlan(quant, PlanConfig()).apply(model, make_method(config("quant=int4", "method=naive")))
    rounded = model.weight(given)
    torch.testing.assert_close(rounded.t() if transposed else rounded, by_hand(weight, 5))


METHODS: list[tuple[str, tuple[str, ...]]] = [
    *((name, ("quant=int4",)) for name in ("naive", "noisy", "dq", "ptq", "lsq", "pact", "qlr", "lorap", "mixed")),
    *((name, ("quant=int4", "quant.activation_granularity=row")) for name in ("a2q", "degree_bits", "sgquant")),
    *((name, ("quant=w1a32",)) for name in ("naive", "binary", "bigcn", "two_binaries", "salient", "reste")),
    ("twn", ("quant=ternary",)),
]


@pytest.mark.parametrize(("method", "words"), METHODS)
def test_every_method_trains_with_groups(method: str, words: tuple[str, ...]) -> None:
    torch.manual_seed(0)  # with other numbers a ReLU and dropout may leave no gradient in so small a network
    run = config(f"method={method}", *words)
    model = build_model(run, 7, 0, 3)
    edges = torch.tensor([[0, 1, 2, 3, 0], [1, 2, 3, 0, 2]])
    graph = build_graph(edges, 4, None, True)
    model.train()
    model(torch.randn(4, 7), graph).square().sum().backward()
    weights = [site for name, site in named_sites(model) if name.endswith("layers.0.weight")]
    assert weights and all(site.groups == Groups((7, 12), (1,), 5) for site in weights)
    gradients = [p.grad for name, p in model.named_parameters() if name == "layers.0.weight"]
    assert gradients[0] is not None and bool(gradients[0].any())


def test_who_refuses_groups() -> None:
    with pytest.raises(ConfigError, match="weight_granularity must be tensor or channel for method=topgq"):
        config("quant=int4", "quant.activation_granularity=row", "method=topgq")
    run = config("quant=int8", "plan=integer")
    model = build_model(run, 7, 0, 3)
    with pytest.raises(ConfigError, match=r"weight must have one scale for each sum of products .*groups of 5 inputs"):
        require_program(model)
    with pytest.raises(ConfigError, match=r"granularity\.size must be > 0 for groups, 0 for tensors and rows, got 4"):
        Granularity("row", 4)


def test_names_and_fields_without_effect() -> None:
    quant = config("quant=int4").quant
    assert quant.label == "int4-wgroup5"
    assert quant.effective.group_size == 5
    assert replace(quant, weight_granularity="channel").effective.group_size == 32


def test_bits_of_weights_in_groups_are_those_of_the_weights() -> None:
    counted: list[Any] = []
    for words in ((), ("quant.weight_granularity=tensor",)):
        model = build_model(config("quant=int4", "method=naive", *words), 7, 0, 3)
        for _, site in named_sites(model):
            if site.is_weight:
                site.train()
                site(torch.randn(site.weight_shape or ()))
        counted.append(WeightBits.of(model.eval()).total)
    assert counted[0] == counted[1]
