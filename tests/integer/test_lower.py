"""Lowering: which operations come out, and which networks are refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from dqrun.config import ModelConfig, PlanConfig, SiteRule
from dqrun.errors import ConfigError
from dqrun.integer import Program
from dqrun.integer.lower import lower, require_program
from dqrun.integer.operations import Linear
from dqrun.kernels.integer import RowGrid
from dqrun.nn.build import build_network
from dqrun.quant import Granularity, Quantizer, QuantSpec, ScaleProvider, named_sites

Make = Callable[..., Any]


def targets(program: Program) -> list[tuple[str, str]]:
    return [(type(operation).__name__.lower(), operation.target) for operation in program.operations]


def test_gcn(trained: Make) -> None:
    assert targets(lower(trained("gcn", graph_level=False))) == [
        ("quantize", "states.0"),
        ("linear", "layers.0.features"),
        ("aggregate", "states.1"),
        ("linear", "layers.1.features"),
        ("aggregate", "logits"),
    ]


def test_gat_with_a_linear_encoder(trained: Make) -> None:
    program = lower(trained("gat", layers=1, encoder="linear", head=[]))
    assert targets(program) == [
        ("quantize", "encoder.input"),
        ("linear", "states.0"),
        ("linear", "layers.0.features"),
        ("attention", "states.1"),
        ("readout", "head.0.input"),
        ("linear", "logits"),
    ]


def test_gin_with_an_embedding(trained: Make) -> None:
    program = lower(trained("gin", layers=1, categories=4, head=[1], mlp_norm=True))
    assert targets(program) == [
        ("lookup", "states.0"),
        ("aggregate", "layers.0.mlp.0.input"),
        ("linear", "layers.0.mlp.1.input"),
        ("linear", "states.1"),
        ("readout", "head.0.input"),
        ("linear", "head.1.input"),
        ("linear", "logits"),
    ]
    assert program.operations[3].epilogue.pre_relu and program.operations[3].epilogue.gain is not None


def test_batch_norm_is_folded_where_no_relu_stands_before_it(trained: Make) -> None:
    epilogue = lower(trained("gcn", layers=1, norm="batch")).operations[2].epilogue
    assert epilogue.bias is None and epilogue.gain.numel() == epilogue.offset.numel() == 8
    assert epilogue.folded.gain is None and epilogue.folded.multiplier.numel() == 8


def test_signature(trained: Make) -> None:
    signature = lower(trained("gin", activation_bits=8)).signature
    assert (signature.in_channels, signature.num_categories, signature.out_channels) == (5, 0, 3)
    assert signature.graph_level and not lower(trained("gin")).self_loops and lower(trained("gcn")).self_loops
    assert signature.degree_limit == signature.size_limit == (2**31 - 1) // 255


@pytest.mark.parametrize("name", ["states.1", "layers.0.mlp.1.input", "head.0.weight", "encoder.input"])
def test_an_exact_site_is_refused_by_name(trained: Make, integer_plan: PlanConfig, name: str) -> None:
    model = trained("gin", encoder="linear", plan=replace(integer_plan, fp32=[name]))
    with pytest.raises(ConfigError, match=rf"^{name} must be quantised .* train with plan=integer"):
        lower(model)


def test_the_paper_plan_and_fp32_are_refused(trained: Make, integer_plan: PlanConfig) -> None:
    with pytest.raises(ConfigError, match=r"states\.0 must be quantised .* train with plan=integer"):
        lower(trained("gcn", plan=PlanConfig(name="paper")))
    with pytest.raises(ConfigError, match=r"and a width for weights and activations"):
        lower(trained("gcn", weight_bits=None, activation_bits=None))


def test_a_site_without_place_in_a_program_is_refused(trained: Make, integer_plan: PlanConfig) -> None:
    rules = {**integer_plan.rules, "layers.*.output": SiteRule(fp32=False)}
    with pytest.raises(ConfigError, match=r"layers\.0\.output must stay in FP32 in an integer program"):
        lower(trained("gcn", plan=replace(integer_plan, rules=rules)))


def test_affine_weights_are_refused(trained: Make, integer_plan: PlanConfig) -> None:
    rules = {**integer_plan.rules, "**.weight": SiteRule(fp32=False, symmetric=False)}
    with pytest.raises(ConfigError, match=r"layers\.0\.weight must have a symmetric grid"):
        lower(trained("gcn", plan=replace(integer_plan, rules=rules)))


@pytest.mark.parametrize("name", ["gcn", "gat", "gin"])
def test_a_scale_for_each_channel_is_a_multiplier_for_each_channel(trained: Make, name: str) -> None:
    program = lower(trained(name, encoder="linear", weight_granularity="channel"))
    linears = [operation for operation in program.operations if isinstance(operation, Linear)]
    assert len(linears) >= 5
    for linear in linears:
        assert linear.epilogue.multiplier.unique().numel() == linear.weight.codes.size(0)
        tops = linear.weight.codes.abs().amax(1)
        assert bool((tops == 127).all()), "each channel uses its whole grid"


def test_scales_of_another_part_than_a_channel_are_refused(trained: Make) -> None:
    model = trained("gcn", weight_granularity="channel")
    observer = model.layers[0].sites.weight.quantizer.scales
    observer.low, observer.high = -torch.ones(5, 1), torch.ones(5, 1)
    with pytest.raises(ConfigError, match=r"^layers\.0\.weight must have one scale, or one for each of 8 outputs"):
        lower(model)


def test_quantisers_that_have_seen_nothing_are_refused(trained: Make) -> None:
    model = trained("gcn")
    dict(named_sites(model))["states.1"].quantizer.scales.low.fill_(torch.inf)
    with pytest.raises(ConfigError, match=r"states\.1 must have observed values"):
        lower(model)


def test_parameters_that_are_not_finite_are_refused(trained: Make) -> None:
    model = trained("gcn", graph_level=False)
    model.layers[-1].bias.data[1] = torch.nan
    with pytest.raises(ConfigError, match=r"logits\.epilogue\.bias must be finite and at most 3.4e\+38, got nan"):
        lower(model)


def test_lowering_leaves_the_network_alone(trained: Make) -> None:
    model = trained("gin", norm="batch")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    lower(model)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("refuse", [lower, require_program])
def test_edge_features_have_no_integer_form(refuse: Make) -> None:
    config = ModelConfig(name="gine", layers=1, hidden=4)
    model = build_network(config, 3, 0, 2, graph_level=True, edge_categories=4)
    with pytest.raises(
        ConfigError, match=r"^an integer program stores values of nodes and graphs, not of edges"
    ) as raised:
        refuse(model)
    assert "\n" not in str(raised.value)


def test_rows_with_ranges_of_their_own(trained: Make) -> None:
    program = lower(trained("gin", 4, 2, rows=("integer", "power_of_two")))
    quantize, aggregate = program.operations[:2]
    assert quantize.grid == aggregate.epilogue.grid == RowGrid(2, "inside", True, 0.0037)  # features hold zero
    assert aggregate.epilogue.multiplier.tolist() == [1.0]  # the scales of rows come with the codes
    first, product = lower(trained("gcn", rows=("real", "real"), learned_scale=True)).operations[:2]
    learned = product.epilogue.grid
    assert (
        first.grid.offset == "inside" and learned.offset == "real" and learned.share is not None and learned.share != 1
    )


def changed_spec(**fields: Any) -> Callable[[Quantizer], None]:
    def change(quantizer: Quantizer) -> None:
        quantizer.rounding.spec = replace(quantizer.spec, **fields)

    return change


def learned_elsewhere(quantizer: Quantizer) -> None:
    quantizer.scales = ScaleProvider(QuantSpec(4))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            changed_spec(granularity=Granularity("group", 4)),
            "have one range for a row in an integer program: train .*group",
        ),
        (changed_spec(collapsed="unit"), "have method.collapsed_range=zero in an integer program with ranges of rows"),
        (learned_elsewhere, "take the range of a row from the row itself in an integer program, got 'ScaleProvider'"),
    ],
)
def test_rows_that_no_program_has(trained: Make, change: Callable[[Quantizer], None], message: str) -> None:
    model = trained("gcn", rows=("integer", "real"))
    change(model.states[1].quantizer)
    for refusing in (lower, require_program):
        with pytest.raises(ConfigError, match=f"^states.1 must {message}") as error:
            refusing(model)
        assert "\n" not in str(error.value)
