"""Networks: shapes, residuals, protection through all layers, and the two plans."""

from collections.abc import Callable

import pytest
import torch

from dqrun import kernels
from dqrun.config import MethodConfig, ModelConfig, ObserverConfig, PlanConfig, QuantConfig, SiteRule
from dqrun.errors import ConfigError
from dqrun.graphs import CSR, Graph
from dqrun.methods import Method
from dqrun.nn import GNN
from dqrun.nn.build import build_network, uses_self_loops
from dqrun.quant import QuantPlan, named_sites

Make = Callable[..., Graph]
MODELS = ["gcn", "gat", "gin", "sage", "gatv2"]
PAPER = PlanConfig(name="paper", rules={"**.coefficient": SiteRule(fp32=True)})
INTEGER = PlanConfig(
    name="integer",
    rules={
        "**": SiteRule(fp32=True),
        "states.*": SiteRule(fp32=False),
        "encoder.input": SiteRule(fp32=False),
        "layers.*.mlp.*.input": SiteRule(fp32=False),
        "layers.*.features": SiteRule(fp32=False),
        "head.*.input": SiteRule(fp32=False),
        "**.weight": SiteRule(fp32=False, symmetric=True),
    },
)


def config(name: str, **options: object) -> ModelConfig:
    return ModelConfig(name=name, layers=3, hidden=8, heads=2, **options)


def quantised(model: GNN, bits: int, plan: PlanConfig) -> GNN:
    widen = ObserverConfig(update="running_minmax")
    method = Method(MethodConfig(kind="test", name="test", observer=widen, weight_observer=widen))
    QuantPlan(QuantConfig(bits=bits, weight_bits=bits, activation_bits=bits), plan).apply(model, method)
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


@pytest.mark.parametrize("options", [{"norm": "batch"}, {"mlp_norm": True}])
def test_a_training_batch_of_one_node_is_refused_where_there_are_batch_norms(options: dict[str, object]) -> None:
    graph = Graph(
        CSR.from_edge_index(torch.tensor([[0], [0]]), 1), torch.tensor([0, 1]), torch.tensor([0]), torch.ones(1)
    )
    model = build_network(config("gin", **options), 6, 0, 3, graph_level=True)
    message = r"^train\.batch_size must put 2 or more nodes into each training batch, which batch norm needs, got 1$"
    with pytest.raises(ConfigError, match=message):
        model(torch.randn(1, 6), graph)
    assert model.eval()(torch.randn(1, 6), graph).shape == (1, 3)


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
    protected = graph.with_protection_masks(torch.ones(1, 30, dtype=torch.bool))
    torch.manual_seed(0)
    exact = build_network(config(name), 6, 0, 3, graph_level=False)
    torch.manual_seed(0)
    model = build_network(config(name), 6, 0, 3, graph_level=False)
    quant = QuantConfig(bits=None, weight_bits=None, activation_bits=2)
    edge_weights_exact = PlanConfig(name="test", rules=PAPER.rules, fp32=["**.e*"] if name == "gcn" else [])
    QuantPlan(quant, edge_weights_exact).apply(model, Method(MethodConfig(kind="test", name="test")))
    x = torch.randn(30, 6)
    torch.testing.assert_close(model(x, protected), exact(x, graph), atol=1e-5, rtol=1e-5)
    assert not torch.allclose(model(x, graph), exact(x, graph), atol=1e-2)


@pytest.mark.parametrize("name", MODELS)
def test_integer_plan_quantises_what_is_stored(name: str) -> None:
    model = quantised(build_network(config(name, norm="batch"), 6, 0, 3, graph_level=True), 8, INTEGER)
    sites = {path: site for path, site in named_sites(model) if not site.is_fp32}
    states = {f"states.{i}" for i in range(4)}
    assert states < set(sites)
    stored = {"input", "weight", "features", "source", "target"}
    assert {path.rsplit(".", 1)[1] for path in set(sites) - states} <= stored
    assert not any(f"layers.{i}.input" in sites for i in range(3))
    assert all(site.quantizer.spec.symmetric for path, site in sites.items() if path.endswith("weight"))


@pytest.mark.parametrize("name", MODELS)
def test_layer_residual_and_readout_share_the_codes_of_a_state(random_graph: Make, name: str) -> None:
    options = {"residual": True, "encoder": "linear", "norm": "batch"}
    model = quantised(build_network(config(name, **options), 6, 0, 3, graph_level=True), 4, INTEGER)
    graph, x = random_graph(self_loops=uses_self_loops(config(name))), torch.randn(30, 6)
    model(x, graph)
    seen: dict[str, torch.Tensor] = {}
    for i, state in enumerate(model.states):
        state.register_forward_hook(lambda _, __, y, i=i: seen.update({f"state {i}": y}))
    for i, layer in enumerate(model.layers):
        layer.register_forward_hook(lambda _, arguments, __, i=i: seen.update({f"layer {i}": arguments[0]}))
    model.eval()(x, graph)
    for i in range(3):
        assert seen[f"state {i}"] is seen[f"layer {i}"]
        assert seen[f"state {i}"].unique().numel() <= 16


def test_signs_of_states() -> None:
    relu = config("gin", residual=True)
    assert [s.nonnegative for s in build_network(relu, 6, 0, 3, graph_level=True).states] == [False, True, True, True]
    encoded = config("gin", residual=True, encoder="linear")  # state 0 may be negative, and is added to state 1
    assert not any(s.nonnegative for s in build_network(encoded, 6, 0, 3, graph_level=True).states)
    elu = config("gat", activation="elu")
    assert [s.nonnegative for s in build_network(elu, 6, 0, 3, graph_level=False).states] == [False] * 3


def test_state_of_a_trained_network_loads(random_graph: Make) -> None:
    graph, x = random_graph(), torch.randn(30, 6)
    trained = quantised(build_network(config("gin", norm="batch"), 6, 0, 3, graph_level=True), 4, PAPER)
    trained(x, graph)
    fresh = quantised(build_network(config("gin", norm="batch"), 6, 0, 3, graph_level=True), 4, PAPER)
    fresh.load_state_dict(trained.state_dict())
    assert torch.equal(fresh.eval()(x, graph), trained.eval()(x, graph))


@pytest.mark.parametrize("name", MODELS)
def test_a_state_counts_as_often_as_it_is_read(random_graph: Make, name: str) -> None:
    graph = random_graph(self_loops=uses_self_loops(config(name)))
    model = quantised(build_network(config(name), 6, 0, 3, graph_level=False), 8, INTEGER).train()
    for site in (model.states[0], model.layers[0].sites.features if name == "gcn" else model.states[0]):
        site.quantizer.scales.tail = 0.2
    x = torch.randn(30, 6)
    model(x, graph)
    reads = graph.csr.out_degree + 1 if name in ("gin", "sage") else None
    observer = model.states[0].quantizer.scales
    assert (observer.low, observer.high) == kernels.tail_range(x, 0.2, reads)
    if name == "gcn":
        layer = model.layers[0]
        scaled = graph.csr.inverse_sqrt_degree.unsqueeze(-1) * (
            model.states[0].quantizer.eval()(x) @ layer.sites.weight.quantizer.eval()(layer.weight)
        )
        expected = kernels.tail_range(scaled, 0.2, graph.csr.out_degree)
        torch.testing.assert_close(layer.sites.features.quantizer.scales.high, expected[1])
