"""Plans: globs, precedence of rules, and what they put into a network."""

from dataclasses import replace

import pytest
import torch

from dqrun import register
from dqrun.config import MethodConfig, ModelConfig, ObserverConfig, PlanConfig, QuantConfig, SiteRule
from dqrun.errors import ConfigError
from dqrun.methods.dq import DegreeQuantConfig, ProtectionConfig
from dqrun.methods.naive import Naive, NaiveConfig
from dqrun.methods.noisy import NoisyConfig
from dqrun.nn.build import build_network
from dqrun.quant import Phase, QuantPlan, named_sites
from dqrun.quant.plan import matches, quantizers, set_phase, split_parameters

GIN = ModelConfig(name="gin", layers=2, hidden=4)
INT4 = QuantConfig(bits=4, weight_bits=4, activation_bits=4)
NAIVE = NaiveConfig(kind="naive", name="naive")


@pytest.mark.parametrize(
    ("glob", "name", "fits"),
    [
        ("layers.*.input", "layers.0.input", True),
        ("layers.*.input", "layers.0.mlp.0.input", False),
        ("layers.**", "layers.0.mlp.0.input", True),
        ("**.input", "layers.0.mlp.0.input", True),
        ("**.input", "input", True),
        ("**", "head.0.weight", True),
        ("head.?.weight", "head.1.weight", True),
        ("head", "head.1.weight", True),
        ("head.*", "head.1.weight", True),
        ("layers.?.mlp", "layers.0.mlp.1.weight", True),
        ("hea", "head.1.weight", False),
        ("layers.*.output", "layers.0.mlp.2.output", False),
    ],
)
def test_globs(glob: str, name: str, fits: bool) -> None:
    assert matches(name, glob) is fits


def apply(plan: PlanConfig, quant: QuantConfig = INT4, method: MethodConfig = NAIVE) -> dict[str, object]:
    model = build_network(GIN, 3, 0, 2, graph_level=True)
    kind = register.method.get(method.kind)
    QuantPlan(quant, plan).apply(model, kind(method))
    return {name: site.quantizer for name, site in named_sites(model)}


def test_without_rules_every_site_but_the_states_is_quantised() -> None:
    exact = {name for name, quantizer in apply(PlanConfig(name="all")).items() if quantizer is None}
    assert exact == {"states.0", "states.1", "states.2"}


def test_states_are_quantised_by_a_rule_that_says_so() -> None:
    tail_only = apply(PlanConfig(name="test", rules={"states.*": SiteRule(tail=0.1)}))
    assert tail_only["states.0"] is None
    assert apply(PlanConfig(name="test", rules={"states.*": SiteRule(fp32=False)}))["states.0"] is not None


def test_fp32_is_a_plan_with_no_grids() -> None:
    fp32 = QuantConfig(bits=None, weight_bits=None, activation_bits=None)
    assert all(quantizer is None for quantizer in apply(PlanConfig(name="all"), fp32).values())


def test_weights_only() -> None:
    quantizers = apply(PlanConfig(name="all"), QuantConfig(bits=None, weight_bits=8, activation_bits=None))
    assert {name for name, q in quantizers.items() if q is not None} == {
        name for name in quantizers if name.endswith("weight")
    }


def test_later_rules_win_field_by_field_and_exact_wins_over_all() -> None:
    plan = PlanConfig(
        name="mixed",
        rules={
            "**": SiteRule(fp32=True),
            "**.weight": SiteRule(fp32=False, bits=8),
            "head.**": SiteRule(symmetric=True),
            "head.1.weight": SiteRule(tail=0.2),
            "head.0.weight": SiteRule(tail=0.001),
        },
        fp32=["layers.0.**"],
    )
    quantizers = apply(plan, method=replace(NAIVE, weight_observer=ObserverConfig(tail=0.01)))
    assert all(q is None for name, q in quantizers.items() if name.startswith("layers.0."))
    q = quantizers["head.1.weight"]
    assert q is not None and q.spec.bits == 8 and q.spec.symmetric and q.scales.tail == 0.01
    assert quantizers["head.0.weight"].scales.tail == 0.001  # a rule's tail is a limit
    assert not quantizers["layers.1.mlp.0.weight"].spec.symmetric


def test_rounded_sites_ignore_protection() -> None:
    protection = ProtectionConfig(p_max=0.5, rounded_sites=["layers.*.mlp.**", "head.0"])
    method = DegreeQuantConfig(kind="dq", name="dq", protection=protection)
    quantizers = apply(PlanConfig(name="all"), method=method)
    assert not quantizers["layers.0.mlp.0.input"].protects
    assert quantizers["layers.0.message"].protects
    assert not quantizers["head.0.input"].protects and quantizers["head.1.input"].protects


def test_signs_follow_relu() -> None:
    quantizers = apply(PlanConfig(name="all"))
    assert quantizers["layers.0.mlp.0.input"].spec.signed
    assert not quantizers["layers.0.mlp.1.input"].spec.signed


def test_a_glob_of_exact_that_fits_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"plan\.fp32 must match a site .* got 'haed\.\*'"):
        apply(PlanConfig(name="all", fp32=["haed.*"]))


def test_initial_weights_do_not_depend_on_the_plan() -> None:
    states = []
    for quant in (INT4, QuantConfig(bits=None, weight_bits=None, activation_bits=None)):
        torch.manual_seed(3)
        model = build_network(GIN, 3, 0, 2, graph_level=True)
        QuantPlan(quant, PlanConfig(name="all")).apply(model, Naive(NAIVE))
        states.append({name: p for name, p in model.named_parameters()})
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[1])


def test_a_site_has_what_quant_method_and_rule_say() -> None:
    quant = replace(INT4, activation_bits=6, symmetric_weights=True)
    method = NoisyConfig(
        kind="noisy",
        name="noisy",
        estimator="clipped",
        noise_rate=0.5,
        collapsed_range="unit",
        learned_scale=True,
        observer=ObserverConfig(tail=0.1, update="running_minmax", percentile="kthvalue"),
        weight_observer=ObserverConfig(update="last_batch", momentum=0.3),
    )
    made = apply(PlanConfig(name="all", rules={"head.0.input": SiteRule(headroom=0.2)}), quant, method)
    weight, message, headed = (made[name] for name in ("head.0.weight", "layers.0.message", "head.0.input"))
    assert (weight.spec.bits, weight.spec.symmetric, weight.spec.headroom, weight.scales.from_mean) == (
        4,
        True,
        0.0,
        True,
    )
    assert (weight.scales.start.rule, weight.scales.start.percentile) == ("last_batch", "symmetric")
    assert (weight.scales.start.tail, weight.scales.start.momentum) == (0.0, 0.3)
    assert (message.spec.bits, message.spec.symmetric, message.spec.collapsed) == (6, False, "unit")
    assert (message.scales.start.tail, message.scales.start.rule, message.scales.start.percentile) == (
        0.1,
        "running_minmax",
        "kthvalue",
    )
    assert (message.rounding.estimator, message.rounding.noise_rate) == ("clipped", 0.5)
    assert not message.scales.from_mean and message.name == "layers.0.message" and headed.spec.headroom == 0.2
    activations = apply(PlanConfig(name="all"), replace(INT4, symmetric_activations=True))
    assert activations["layers.0.message"].spec.symmetric and not activations["head.0.weight"].spec.symmetric


def test_learned_steps_are_apart_from_the_networks_parameters() -> None:
    model = build_network(GIN, 3, 0, 2, graph_level=True)
    own = list(model.parameters())
    QuantPlan(INT4, PlanConfig(name="all")).apply(model, Naive(replace(NAIVE, learned_scale=True)))
    parameters, steps = split_parameters(model)
    assert [id(parameter) for parameter in parameters] == [id(parameter) for parameter in own]
    assert len(steps) == len(list(quantizers(model))) and all(step.dim() == 0 for step in steps)
    set_phase(model, Phase.OBSERVE)
    assert all(quantizer.phase is Phase.OBSERVE for quantizer in quantizers(model))


def test_apply_returns_the_quantised_sites_in_order() -> None:
    model = build_network(GIN, 3, 0, 2, graph_level=True)
    names = QuantPlan(INT4, PlanConfig(name="all", fp32=["layers", "states"])).apply(model, Naive(NAIVE))
    assert names == [f"head.{i}.{site}" for i in range(2) for site in ("input", "weight", "output")]


def test_a_site_is_idle_without_a_quantiser_and_in_bypass() -> None:
    model = build_network(GIN, 3, 0, 2, graph_level=True)
    QuantPlan(INT4, PlanConfig(name="all")).apply(model, Naive(NAIVE))
    sites = dict(named_sites(model))
    state, message, x = sites["states.0"], sites["layers.0.message"], torch.tensor([[-1.0, 2.0]])
    assert state.is_fp32 and state.idle and not message.is_fp32 and not message.idle
    assert torch.equal(state(x), x) and torch.equal(state(x, relu=True), x.relu())
    set_phase(model, Phase.BYPASS)
    assert message.idle and not message.is_fp32 and torch.equal(message(x), x)
