"""Networks: shapes, residuals, protection through all layers, and the two plans."""

from collections.abc import Callable

import pytest
import torch

from dqrun.build import build_network, uses_self_loops
from dqrun.config import MethodConfig, ModelConfig, ObserverConfig, PlanConfig, QuantConfig, SiteRule
from dqrun.graph import Graph
from dqrun.nn import GNN
from dqrun.quant import QuantPlan, named_sites

Make = Callable[..., Graph]
MODELS = ["gcn", "gat", "gin"]
PAPER = PlanConfig(name="paper", rules={"**.coefficient": SiteRule(exact=True)})
INTEGER = PlanConfig(
    name="integer",
    rules={
        "**": SiteRule(exact=True),
        "**.input": SiteRule(exact=False),
        "**.weight": SiteRule(exact=False, symmetric=True),
        "layers.*.features": SiteRule(exact=False),
    },
)


def config(name: str, **options: object) -> ModelConfig:
    return ModelConfig(name=name, layers=3, hidden=8, heads=2, **options)


def quantised(model: GNN, bits: int, plan: PlanConfig) -> GNN:
    widen = ObserverConfig(update="widen")
    method = MethodConfig(name="test", observer=widen, weight_observer=widen)
    QuantPlan(QuantConfig(bits=bits, weight_bits=bits, activation_bits=bits), method, plan).apply(model)
    return model


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("graph_level", [True, False])
@pytest.mark.parametrize("categories", [0, 5])
def test_shapes(random_graph: Make, name: str, graph_level: bool, categories: int) -> None:
    model_config = config(name, norm="batch", residual=True, encoder="linear", readout="sum", head=[2, 4])
    model = build_network(model_config, 0 if categories else 6, categories, 3, graph_level)
    graph = random_graph(self_loops=uses_self_loops(model_config))
    x = torch.randint(5, (30,)) if categories else torch.randn(30, 6)
    assert model(x, graph).shape == ((2, 3) if graph_level else (30, 3))


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("plan", [PAPER, INTEGER])
def test_eight_bits_are_close_to_exact_and_two_are_not(random_graph: Make, name: str, plan: PlanConfig) -> None:
    graph = random_graph(self_loops=uses_self_loops(config(name)))
    x = torch.randn(30, 6)
    errors = []
    for bits in (8, 2):
        torch.manual_seed(0)
        exact = build_network(config(name), 6, 0, 3, graph_level=True)
        torch.manual_seed(0)
        model = quantised(build_network(config(name), 6, 0, 3, graph_level=True), bits, plan)
        model(x, graph)  # observes
        error = (model.eval()(x, graph) - exact.eval()(x, graph)).norm() / exact(x, graph).norm()
        errors.append(error.item())
    assert errors[0] < 0.1 < errors[1]


@pytest.mark.parametrize("name", MODELS)
def test_a_protected_graph_passes_exactly_but_for_weights(random_graph: Make, name: str) -> None:
    """With every node protected and weights in FP32, a quantised node network is the exact one."""
    graph = random_graph(self_loops=uses_self_loops(config(name)))
    protected = graph.with_protected(torch.ones(1, 30, dtype=torch.bool))
    torch.manual_seed(0)
    exact = build_network(config(name), 6, 0, 3, graph_level=False)
    torch.manual_seed(0)
    model = build_network(config(name), 6, 0, 3, graph_level=False)
    quant = QuantConfig(bits=None, weight_bits=None, activation_bits=2)
    edge_weights_exact = PlanConfig(name="test", rules=PAPER.rules, exact=["**.e*"] if name == "gcn" else [])
    QuantPlan(quant, MethodConfig(name="test"), edge_weights_exact).apply(model)
    x = torch.randn(30, 6)
    torch.testing.assert_close(model(x, protected), exact(x, graph), atol=1e-5, rtol=1e-5)
    assert not torch.allclose(model(x, graph), exact(x, graph), atol=1e-2)


@pytest.mark.parametrize("name", MODELS)
def test_integer_plan_quantises_what_is_stored(name: str) -> None:
    model = quantised(build_network(config(name, norm="batch"), 6, 0, 3, graph_level=True), 8, INTEGER)
    sites = {path: site for path, site in named_sites(model) if not site.exact}
    assert {path.rsplit(".", 1)[1] for path in sites} <= {"input", "weight", "features"}
    assert all(site.quantizer.grid.symmetric for path, site in sites.items() if path.endswith("weight"))


def test_state_of_a_trained_network_loads(random_graph: Make) -> None:
    graph, x = random_graph(), torch.randn(30, 6)
    trained = quantised(build_network(config("gin", norm="batch"), 6, 0, 3, graph_level=True), 4, PAPER)
    trained(x, graph)
    fresh = quantised(build_network(config("gin", norm="batch"), 6, 0, 3, graph_level=True), 4, PAPER)
    fresh.load_state_dict(trained.state_dict())
    assert torch.equal(fresh.eval()(x, graph), trained.eval()(x, graph))
