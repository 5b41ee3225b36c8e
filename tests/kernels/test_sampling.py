"""Parts of a graph: which edges they hold, how likely each is, and that sums over samples are right on average."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from dqrun.config import ModelConfig
from dqrun.graphs import CSR, Graph
from dqrun.graphs.pyg import build_graph
from dqrun.kernels.sampling import Parts
from dqrun.nn.build import build_network

NODES = 60


def power_law(loops: bool, seed: int = 0) -> Graph:
    """60 nodes of which the first have by far the most edges; no edge twice."""
    draw = torch.Generator().manual_seed(seed)
    edges = (torch.rand(2, 900, generator=draw) ** torch.tensor([[1.0], [3.0]]) * NODES).long()
    edges = torch.unique(edges[:, edges[0] != edges[1]], dim=1)
    graph = build_graph(edges, NODES, None, loops)
    return replace(graph, degree_rank=torch.arange(NODES) / NODES)


def in_whole(graph: Graph, nodes: Tensor) -> set[tuple[int, int]]:
    return set(zip(nodes[graph.csr.col].tolist(), nodes[graph.csr.row].tolist(), strict=True))


@pytest.mark.parametrize("loops", [False, True])
def test_a_sample_holds_different_edges_of_the_graph_and_no_more_than_asked_for(loops: bool) -> None:
    whole, seeds = power_law(loops), torch.tensor([0, 7, 59])
    graph, nodes = Parts(whole, loops).sample(seeds, [4, 2], seed=5)
    assert nodes[:3].tolist() == [0, 7, 59] and len(set(nodes.tolist())) == len(nodes)
    edges = in_whole(graph, nodes)
    assert len(edges) == graph.csr.num_edges
    assert edges <= in_whole(whole, torch.arange(NODES))
    expected, full = graph.csr.in_degree - int(loops), whole.csr.in_degree[nodes] - int(loops)
    near = nodes[graph.csr.col[graph.csr.rowptr[0] : graph.csr.rowptr[3]]].unique()
    assert expected[:3].tolist() == full[:3].clamp(max=4).tolist()
    distance = torch.where(torch.isin(nodes, near), 1, 2)[3:]
    assert torch.equal(expected[3:], torch.where(distance == 1, full[3:].clamp(max=2), 0))
    assert all(map(torch.equal, graph.csr.parts, CSR.from_edge_index(graph.csr.edge_index, len(nodes)).parts))
    assert torch.equal(graph.degree_rank, whole.degree_rank[nodes])
    assert torch.equal(graph.inverse_sqrt_degree, whole.inverse_sqrt_degree[nodes])


def test_the_same_seed_draws_the_same_and_another_one_another() -> None:
    parts, seeds = Parts(power_law(True), True), torch.arange(10)
    first, again, other = (parts.sample(seeds, [3, 3], seed)[0].csr.edge_index for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert first.shape != other.shape or not torch.equal(first, other)


def test_every_set_of_neighbours_is_equally_likely() -> None:
    """Chi-square over the 10 pairs of 5 neighbours; 4000 draws; the limit is exceeded once in 10^5 tests."""
    graph = build_graph(torch.stack([torch.arange(1, 6), torch.zeros(5, dtype=torch.int64)]), 6, None, False)
    parts, counts = Parts(graph, False), torch.zeros(10)
    pairs = {pair: i for i, pair in enumerate((a, b) for a in range(1, 6) for b in range(a + 1, 6))}
    for seed in range(4000):
        sample, nodes = parts.sample(torch.tensor([0]), [2], seed * 2654435761)
        a, b = nodes[sample.csr.col].tolist()
        counts[pairs[a, b]] += 1
    assert float(((counts - 400) ** 2 / 400).sum()) < 39.3


@pytest.mark.parametrize("name", ["gcn", "gin", "sage", "gine"])
def test_a_layer_on_samples_is_right_on_average(name: str) -> None:
    """Without what is not linear in the sums the mean of many samples is what the whole graph gives.

    Each of 60 x 3 means must lie within 5 standard errors: by chance one of 10^4 such tests fails.
    """
    loops = name == "gcn"
    whole = power_law(loops)
    if name == "gine":
        whole = replace(whole, edge_attr=torch.rand(whole.csr.num_edges, 2))
    torch.manual_seed(0)
    config = ModelConfig(name=name, layers=1, hidden=3, mlp_layers=1)
    layer = build_network(config, 5, 0, 3, graph_level=False, edge_channels=2).eval().layers[0]
    x, parts, seeds = torch.rand(NODES, 5), Parts(whole, loops), torch.arange(NODES)
    with torch.no_grad():
        expected = layer(x, whole)
        drawn = []
        for seed in range(400):
            graph, nodes = parts.sample(seeds, [3], seed)
            drawn.append(layer(x[nodes], graph)[:NODES])
    found = torch.stack(drawn)
    error = found.std(0) / 20 + 1e-5
    assert float(((found.mean(0) - expected).abs() / error).max()) < 5
    assert float((found[0] - expected).abs().max()) > 1e-3  # one sample is something else


def test_a_sample_of_all_edges_is_the_whole_graph() -> None:
    whole = power_law(True)
    graph, nodes = Parts(whole, True).sample(torch.arange(NODES), [1000], 0)
    assert torch.equal(nodes, torch.arange(NODES)) and all(map(torch.equal, graph.csr.parts, whole.csr.parts))
    assert graph.sum_scale is not None and bool((graph.sum_scale == 1).all())


def test_induced_edges_are_those_between_the_nodes() -> None:
    whole, chosen = power_law(False), torch.tensor([3, 0, 9, 20, 1])
    parts = Parts(whole, False)
    graph, nodes = parts.induced(chosen)
    members = set(chosen.tolist())
    assert in_whole(graph, nodes) == {
        (a, b) for a, b in in_whole(whole, torch.arange(NODES)) if a in members and b in members
    }
    assert graph.sum_scale is not None
    kept, full = graph.csr.in_degree, whole.csr.in_degree[chosen]
    assert torch.equal(graph.sum_scale[kept > 0], (full / kept)[kept > 0])
    again, _ = parts.induced(chosen)
    assert torch.equal(again.csr.col, graph.csr.col)  # nothing of the first part is left behind


def test_a_block_has_all_edges_of_its_nodes_and_no_others() -> None:
    whole = power_law(True)
    graph, nodes = Parts(whole, True).block(10, 17)
    assert nodes[:7].tolist() == list(range(10, 17)) and graph.sum_scale is None
    assert in_whole(graph, nodes) == {(a, b) for a, b in in_whole(whole, torch.arange(NODES)) if 10 <= b < 17}
    assert torch.equal(graph.inverse_sqrt_degree, whole.inverse_sqrt_degree[nodes])


def test_rows_know_their_degrees_and_have_no_edges() -> None:
    whole = power_law(True)
    graph, nodes = Parts(whole, True).rows(10, 17)
    assert nodes.tolist() == list(range(10, 17)) and graph.csr.num_edges == 0 and graph.sum_scale is None
    assert torch.equal(graph.inverse_sqrt_degree, whole.inverse_sqrt_degree[nodes])
