"""With every site exact, each layer is PyG's layer: the oracle that keeps the equations honest."""

import pytest
import torch
from torch import Tensor, nn
from torch_geometric.nn import GATConv, GCNConv, GINConv

from dqrun.errors import ConfigError
from dqrun.graphs import CSR, SparseRows
from dqrun.graphs.pyg import build_graph
from dqrun.kernels import edge_scores
from dqrun.nn import GATLayer, GCNLayer, GINLayer, Layer
from dqrun.nn.gatv2 import GATv2Layer
from dqrun.nn.gine import GINELayer
from dqrun.nn.propagate import propagate
from dqrun.nn.sage import SAGELayer
from dqrun.quant import Phase, Quantizer, QuantSpec, RangeObserver, UniformRounding

EDGES = {
    "path": ([[0, 1, 1, 2, 2, 3, 3, 4], [1, 0, 2, 1, 3, 2, 4, 3]], 5),
    "directed": ([[0, 1, 2, 3], [1, 2, 3, 4]], 5),
    "isolated nodes": ([[0, 1], [1, 0]], 6),
    "self-loops": ([[0, 0, 1, 2, 2], [0, 1, 0, 2, 1]], 4),
    "multi-edges": ([[0, 0, 0, 1, 2], [1, 1, 1, 0, 1]], 3),
    "self-loop twice": ([[0, 0, 1], [0, 0, 0]], 2),
    "no edges": ([[], []], 4),
    "one node": ([[], []], 1),
    "hub": ([list(range(1, 40)), [0] * 39], 40),
    "two graphs": ([[0, 1, 3, 4, 4], [1, 0, 4, 3, 5]], 6),
}


def edges_of(name: str) -> tuple[Tensor, int]:
    edge_index, num_nodes = EDGES[name]
    return torch.tensor(edge_index, dtype=torch.int64), num_nodes


def check(layer: Layer, conv: nn.Module, name: str, weighted: bool = False) -> None:
    """Same output, same gradient of the input, and gradients of the parameters of the same length, to 1e-5."""
    edge_index, num_nodes = edges_of(name)
    x, weight = torch.randn(num_nodes, 6), torch.rand(edge_index.size(1)) if weighted else None
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    layer.zero_grad()
    out = layer(ours, build_graph(edge_index, num_nodes, None, layer.uses_self_loops, weight))
    expected = conv(theirs, edge_index, weight) if weighted else conv(theirs, edge_index)
    torch.testing.assert_close(out, expected, atol=1e-5, rtol=1e-5)
    direction = torch.randn_like(expected)
    out.backward(direction)
    expected.backward(direction)
    torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-5, rtol=1e-5)
    lengths = [torch.stack([p.grad.square().sum() for p in each.parameters()]).sum() for each in (layer, conv)]
    torch.testing.assert_close(*lengths, atol=1e-5, rtol=1e-5)


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


@pytest.fixture
def per_edge(monkeypatch: pytest.MonkeyPatch) -> list[CSR]:
    """The graphs over which GCN layers have summed messages with a weight per edge."""
    calls: list[CSR] = []

    def counted(csr: CSR, *arguments: object) -> Tensor:
        calls.append(csr)
        return propagate(csr, *arguments)

    monkeypatch.setattr("dqrun.nn.gcn.propagate", counted)
    return calls


def observing() -> Quantizer:
    """A quantiser that observes and does not round."""
    quantizer = Quantizer(RangeObserver(QuantSpec(8), update="last_batch"), UniformRounding(QuantSpec(8)))
    quantizer.phase = Phase.CALIBRATE
    return quantizer


@pytest.mark.parametrize("name", EDGES)
def test_gcn_equals_pyg(name: str, per_edge: list[CSR]) -> None:
    layer, conv = GCNLayer(6, 5), GCNConv(6, 5)
    with torch.no_grad():
        layer.weight.copy_(conv.lin.weight.t())
        layer.bias.copy_(nn.init.normal_(conv.bias))
    check(layer, conv, name)
    assert per_edge == []


@pytest.mark.parametrize("site", ["message", "edge_weight"])
@pytest.mark.parametrize("name", EDGES)
def test_gcn_per_edge_form_equals_pyg(name: str, site: str, per_edge: list[CSR]) -> None:
    """The form with a weight per edge, which plans with quantised messages use, computes the same.

    The quantiser observes and does not round. That it saw the messages, or their weights, shows which form ran.
    """
    layer, conv = GCNLayer(6, 5), GCNConv(6, 5)
    quantizer = observing()
    getattr(layer.sites, site).quantizer = quantizer
    with torch.no_grad():
        layer.weight.copy_(conv.lin.weight.t())
        layer.bias.copy_(nn.init.normal_(conv.bias))
    check(layer, conv, name)
    assert len(per_edge) == 1 and quantizer.scales.ready
    if site == "edge_weight":
        assert quantizer.scales.high == pytest.approx(per_edge[0].symmetric_weight.max().item())


@pytest.mark.parametrize("concat", [True, False])
@pytest.mark.parametrize("name", EDGES)
def test_gat_equals_pyg(name: str, concat: bool) -> None:
    layer, conv = GATLayer(6, 4, heads=3, concat=concat), GATConv(6, 4, heads=3, concat=concat)
    with torch.no_grad():
        layer.weight.copy_(conv.lin.weight.t())
        layer.attention.copy_(torch.cat([conv.att_src, conv.att_dst]))
        layer.bias.copy_(nn.init.normal_(conv.bias))
    check(layer, conv, name)


@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize("name", EDGES)
def test_gin_equals_pyg(name: str, norm: bool) -> None:
    if norm and EDGES[name][1] == 1:
        pytest.skip("batch norm needs two rows")
    layer = GINLayer(6, 5, hidden_channels=8, norm=norm)
    linears = [nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 5)] + ([nn.ReLU(), nn.BatchNorm1d(5)] if norm else [])
    conv = GINConv(nn.Sequential(*linears), eps=0.3, train_eps=True)
    with torch.no_grad():
        layer.eps.copy_(conv.eps)
        for ours, theirs in zip(layer.mlp, [linears[0], linears[2]], strict=False):
            ours.weight.copy_(theirs.weight)
            ours.bias.copy_(theirs.bias)
    check(layer, conv, name)


@pytest.mark.parametrize("name", EDGES)
def test_gcn_with_edge_weights_equals_pyg(name: str, per_edge: list[CSR]) -> None:
    layer = GCNLayer(6, 5)
    nn.init.normal_(layer.bias)
    check(layer, layer.to_pyg(), name, weighted=True)
    assert per_edge == []
    layer.sites.message.quantizer = observing()
    check(layer, layer.to_pyg(), name, weighted=True)
    assert len(per_edge) == 1


@pytest.mark.parametrize("name", EDGES)
def test_sage_equals_pyg(name: str) -> None:
    layer = SAGELayer(6, 5)
    check(layer, layer.to_pyg(), name)
    check(layer, layer.to_pyg(weighted=True), name, weighted=True)


def test_sage_of_sparse_features_equals_that_of_a_tensor() -> None:
    edge_index, num_nodes = edges_of("hub")
    layer, graph = SAGELayer(50, 5), build_graph(edge_index, num_nodes, None, False)
    x = (torch.rand(num_nodes, 50) < 0.02) * torch.randn(num_nodes, 50)
    torch.testing.assert_close(layer(SparseRows.of(x), graph), layer(x, graph))


@pytest.mark.parametrize(("concat", "share_weights"), [(True, False), (False, False), (True, True)])
@pytest.mark.parametrize("name", EDGES)
def test_gatv2_equals_pyg(name: str, concat: bool, share_weights: bool) -> None:
    layer = GATv2Layer(6, 4, 3, concat, share_weights=share_weights)
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    check(layer, layer.to_pyg(), name)


def test_scores_in_blocks_are_those_of_all_edges_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = build_graph(edges_of("hub")[0], 40, None, True)
    ends = [torch.randn(40, 3, 4, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    vectors = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    whole = edge_scores.edge_scores(graph.csr, *ends, vectors, 0.2)
    monkeypatch.setattr(edge_scores, "BLOCK", 60)  # five edges
    torch.testing.assert_close(edge_scores.edge_scores(graph.csr, *ends, vectors, 0.2), whole)
    assert torch.autograd.gradcheck(lambda *args: edge_scores.edge_scores(graph.csr, *args, 0.2), (*ends, vectors))


@pytest.mark.parametrize("categories", [0, 5])
@pytest.mark.parametrize("name", EDGES)
def test_gine_equals_pyg(name: str, categories: int) -> None:
    edge_index, num_nodes = edges_of(name)
    layer = GINELayer(6, 5, hidden_channels=8, edge_channels=0 if categories else 3, edge_categories=categories)
    nn.init.constant_(layer.eps, 0.3)
    conv, num_edges = layer.to_pyg(), edge_index.size(1)
    attr = torch.randint(categories, (num_edges,)) if categories else torch.randn(num_edges, 3)
    graph = build_graph(edge_index, num_nodes, None, False, edge_attr=attr)
    x = torch.randn(num_nodes, 6)
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    out, expected = layer(ours, graph), conv(theirs, edge_index, attr)
    torch.testing.assert_close(out, expected, atol=1e-5, rtol=1e-5)
    direction = torch.randn_like(expected)
    out.backward(direction), expected.backward(direction)
    torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-5, rtol=1e-5)
    lengths = [torch.stack([p.grad.square().sum() for p in each.parameters()]).sum() for each in (layer, conv)]
    torch.testing.assert_close(*lengths, atol=1e-5, rtol=1e-5)


def test_gine_needs_edge_features() -> None:
    with pytest.raises(ConfigError, match=r"^model\.name=gine needs data with edge features, this has none"):
        GINELayer(6, 5, hidden_channels=8)
    with pytest.raises(ConfigError, match=r"^model\.name=gine needs data with edge features, this has none"):
        GINELayer(6, 5, 8, edge_channels=3)(torch.randn(5, 6), build_graph(edges_of("path")[0], 5, None, False))
