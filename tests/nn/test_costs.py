"""Costs against closed formulas, counted tensors and a published figure."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from dqrun.composition.compose import load_configs
from dqrun.config import SiteRule
from dqrun.errors import ConfigError
from dqrun.nn import GNN, GATLayer, GCNLayer, Layer
from dqrun.nn.build import build_model
from dqrun.nn.costs import Costs, Size, costs, width
from dqrun.quant import Quantizer, QuantSpec, RangeObserver, Site, UniformRounding, named_sites


def model_of(*overrides: str, in_channels: int = 10, categories: int = 0, out_channels: int = 3) -> GNN:
    (config,) = load_configs(list(overrides))
    return build_model(config, in_channels, categories, out_channels)


CORA = ("dataset=cora", "model.hidden=128", "model.layers=2")


def test_mixqs_figure_for_fp32_gcn_on_cora() -> None:
    """MixQ's repository gives 16.11 GBitOPs for a two-layer GCN with 128 hidden channels."""
    model = model_of(*CORA, "model=gcn", "quant=fp32", in_channels=1433, out_channels=7)
    found = costs(model, Size(nodes=2708, edges=10556 + 2708))
    assert found.bit_operations / 1e9 == pytest.approx(16.11, rel=0.01)
    gathers = (10556 + 2708) * (128 + 7)  # additions only
    assert found.bit_operations == 32 * found.macs
    assert found.bit_operations_product == 1024 * (found.macs - gathers) + 32 * gathers
    assert found.mean_bits == 32
    assert found.model_bytes == 4 * sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(("quant", "weights", "activations"), [("int4", 4, 4), ("int8", 8, 8), ("w4a8", 4, 8)])
def test_a_gcn_by_hand(quant: str, weights: int, activations: int) -> None:
    model = model_of(*CORA, "model=gcn", f"quant={quant}", in_channels=10, out_channels=3)
    found = costs(model, Size(nodes=7, edges=20))
    matmuls, gathers = 7 * (10 * 128 + 128 * 3), 20 * (128 + 3)
    assert found == Costs(
        model_bytes=(10 * 128 + 128 * 3) * weights / 8 + 4 * (128 + 3),
        mean_bits=pytest.approx(
            (weights * (10 * 128 + 128 * 3) + activations * (7 * (10 + 128 + 128 + 3) + 2 * 20))
            / ((10 * 128 + 128 * 3) + 7 * (10 + 128 + 128 + 3) + 2 * 20)
        ),
        average_bits=activations,
        macs=matmuls + gathers,
        bit_operations=matmuls * (weights + activations) / 2 + gathers * activations,
        bit_operations_product=matmuls * weights * activations + gathers * activations**2,
    )


def test_attention_has_widths_of_its_own() -> None:
    """The vectors at 2 bits, the coefficients at 3, all else at 4."""
    (config,) = load_configs(["dataset=cora", "model=gat", "model.layers=1", "quant=int4", "plan=integer"])
    own = {"layers.0.attention": SiteRule(fp32=False, bits=2), "layers.0.coefficient": SiteRule(fp32=False, bits=3)}
    config = replace(config, plan=replace(config.plan, rules={**config.plan.rules, **own}))
    model = build_model(config, 10, 0, 3)
    layer = model.message_passing[0]
    assert isinstance(layer, GATLayer)
    channels = layer.heads * layer.head_channels
    rows, edges = 7, 20
    products, sums = 2 * rows * channels, edges * channels
    expected = rows * 10 * channels * 4 + products * (4 + 2) / 2 + sums * (4 + 3) / 2
    assert costs(model, Size(rows, edges)).bit_operations == expected


def test_gine_by_hand() -> None:
    """A layer of GINE adds edge rows to messages, then sums these over edges."""
    (config,) = load_configs(["dataset=zinc", "model=gine", "quant=fp32", "model.layers=1", "model.hidden=8"])
    model = build_model(config, 0, 5, 1, edge_categories=3)
    found = costs(model, Size(nodes=7, edges=20, graphs=2))
    weights = {name: p.numel() for name, p in model.named_parameters() if p.dim() == 2 and name.endswith("weight")}
    mlp = sum(number for name, number in weights.items() if ".mlp." in name)
    head = sum(number for name, number in weights.items() if name.startswith("head."))
    assert mlp == 2 * 8 * 8 and head > 0
    assert found.macs == 20 * 8 + (20 + 7) * 8 + 7 * mlp + 7 * 8 + 2 * head


def test_the_integer_plan_adds_plain_rows() -> None:
    model = model_of(*CORA, "model=gcn", "quant=int4", "plan=integer", in_channels=10, out_channels=3)
    found = costs(model, Size(nodes=7, edges=20))
    matmuls, gathers = 7 * (10 * 128 + 128 * 3), 20 * (128 + 3)
    assert found.bit_operations == 4 * (matmuls + gathers)
    assert found.bit_operations_product == 16 * matmuls + 4 * gathers
    assert found.mean_bits == 4


@pytest.mark.parametrize("model", ["gcn", "gat", "gin", "sage", "gatv2"])
def test_a_node_tensor_that_is_rounded_before_the_layers(model: str) -> None:
    """Sites `states.I` give the width of what an exact `input` passes on."""
    exact = "plan.fp32=['layers.*.input','layers.*.message']"
    network = model_of("dataset=cora", f"model={model}", "quant=int4", exact)
    without = costs(network, Size(7, 20))
    network.states = torch.nn.ModuleList(Site() for _ in network.layers)
    assert costs(network, Size(7, 20)) == without
    for state in network.states:
        assert isinstance(state, Site)
        state.quantizer = Quantizer(RangeObserver(QuantSpec(4)), UniformRounding(QuantSpec(4)))
    assert costs(network, Size(7, 20)).bit_operations < without.bit_operations


@pytest.mark.parametrize("model", ["gcn", "gat", "gin", "sage", "gatv2"])
@pytest.mark.parametrize("dataset", ["cora", "reddit_binary", "zinc"])
def test_any_network(model: str, dataset: str) -> None:
    categories = 28 if dataset == "zinc" else 0
    words = (f"dataset={dataset}", f"model={model}")
    size = Size(30, 90)
    wide, int8, int4 = (
        costs(model_of(*words, f"quant={quant}", categories=categories), size) for quant in ("fp32", "int8", "int4")
    )
    assert wide.macs == int8.macs == int4.macs
    assert wide.mean_bits == 32 and 4 <= int4.mean_bits < int8.mean_bits < 32
    assert int4.model_bytes < int8.model_bytes < wide.model_bytes
    assert int4.bit_operations < int8.bit_operations < wide.bit_operations
    assert int4.bit_operations_product < int8.bit_operations_product < wide.bit_operations_product


def test_bytes_are_those_of_each_parameter() -> None:
    model = model_of("dataset=zinc", "model=gat", "quant=int4", categories=28)
    modules = dict(model.named_modules())
    bits = {}
    for name, site in named_sites(model):
        owner, _, leaf = name.rpartition(".")
        if site.is_weight:
            bits[id(getattr(modules[owner], leaf))] = width(site)
    expected = sum(parameter.numel() * bits.get(id(parameter), 32) / 8 for parameter in model.parameters())
    assert costs(model, Size(1, 1)).model_bytes == expected


class Silent(GCNLayer):
    """A layer that does not say what its operations are."""

    lower = Layer.lower


def test_a_layer_that_does_not_say_its_operations_is_refused() -> None:
    model = model_of("dataset=cora", "model=gcn", "quant=int4")
    model.layers[0] = Silent(10, 16)
    with pytest.raises(
        ConfigError, match=r"^Silent has no integer program and no known costs: it does not define lower"
    ):
        costs(model, Size(1, 1))
