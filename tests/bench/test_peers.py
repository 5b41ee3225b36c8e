"""The networks in PyG's layers are the same networks: same logits from the same weights, whatever form edges take."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dqrun.bench.peers import EDGE_FORMS, PyGNetwork, edge_index_of, logits_of
from dqrun.config import ModelConfig
from dqrun.graphs import CSR, Batch, Graph
from dqrun.nn.build import build_network, uses_self_loops

OPTIONS: dict[str, dict[str, object]] = {
    "plain": {},
    "normed": {"norm": "batch", "residual": True, "encoder": "linear", "readout": "sum", "head": [1, 2]},
    "elu": {"activation": "elu", "readout": "max", "mlp_norm": True, "out_heads": 3},
}


def batch_of(self_loops: bool, categories: bool) -> Batch:
    """Two graphs of directed edges, each with a node without any; a self-loop per node if asked for.

    No edge twice: PyG's way to a sparse matrix makes one of such edges.
    """
    generator = torch.Generator().manual_seed(0)
    sources, targets = torch.randint(1, 15, (2, 80), generator=generator)
    edge_index = torch.stack([sources, targets])[:, sources != targets].unique(dim=1)
    edge_index[:, ::2] += 15
    if self_loops:
        edge_index = torch.cat([edge_index, torch.arange(30).expand(2, 30)], 1)
    ptr, half = torch.tensor([0, 15, 30]), (torch.arange(30) >= 15).long()
    graph = Graph(CSR.from_edge_index(edge_index, 30), ptr, half, torch.ones(30))
    x = torch.randint(5, (30,), generator=generator) if categories else torch.randn(30, 6, generator=generator)
    return Batch(graph, x, torch.zeros(2, dtype=torch.int64))


def randomise(network: nn.Module) -> None:
    """Every weight, bias and running statistic, so that one that is not copied shows."""
    generator = torch.Generator().manual_seed(1)
    for tensor in network.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand(tensor.shape, generator=generator) * 0.5 + 0.1)


@pytest.mark.parametrize("form", EDGE_FORMS)
@pytest.mark.parametrize("graph_level", [True, False])
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("name", ["gcn", "gat", "gin", "sage", "gatv2"])
def test_logits_are_ours(name: str, options: str, graph_level: bool, form: str) -> None:
    categories = 5 if options == "normed" and graph_level else 0  # else the linear encoder
    config = ModelConfig(name=name, layers=3, hidden=8, heads=2, **OPTIONS[options])
    batch = batch_of(uses_self_loops(config), categories > 0)
    ours = build_network(config, 0 if categories else 6, categories, 4, graph_level)
    randomise(ours)
    peer = PyGNetwork(ours, config, cached=not graph_level)
    for training in (False, True):  # no dropout: only batch norm tells
        ours.train(training), peer.train(training)
        expected = ours(batch.x, batch.graph)
        torch.testing.assert_close(
            logits_of(peer, batch, EDGE_FORMS[form](batch.graph)), expected, rtol=1e-4, atol=1e-4
        )


@pytest.mark.parametrize("name", ["gcn", "gat", "gin", "sage", "gatv2"])
def test_as_many_parameters_and_all_are_trained(name: str) -> None:
    config = ModelConfig(name=name, layers=2, hidden=8, norm="batch")
    batch = batch_of(uses_self_loops(config), categories=False)
    ours = build_network(config, 6, 0, 4, graph_level=True)
    peer = PyGNetwork(ours, config)
    logits_of(peer, batch, EDGE_FORMS["edge_index"](batch.graph)).square().sum().backward()
    assert sum(p.numel() for p in peer.parameters()) == sum(p.numel() for p in ours.parameters())
    assert all(p.grad is not None for p in peer.parameters())


def test_edges_come_without_the_self_loops_that_pyg_adds() -> None:
    loops, plain = (edge_index_of(batch_of(added, categories=False).graph) for added in (True, False))
    assert torch.equal(loops, plain)
    assert (plain[0].diff() >= 0).all()


def test_only_rows_of_the_index_count() -> None:
    config = ModelConfig(name="gin", layers=2, hidden=8)
    batch = batch_of(False, categories=False)
    peer = PyGNetwork(build_network(config, 6, 0, 4, graph_level=False), config).eval()
    chosen, edges = Batch(batch.graph, batch.x, batch.y, torch.tensor([3, 1])), EDGE_FORMS["edge_index"](batch.graph)
    assert torch.equal(logits_of(peer, chosen, edges), logits_of(peer, batch, edges)[[3, 1]])
