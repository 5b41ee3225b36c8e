"""Which peers run, which are left out and why; BF16 and DGL beside our own FP32."""

from __future__ import annotations

import importlib.util
from dataclasses import replace

import pytest
import torch

from dqrun.bench import dgl_peer
from dqrun.bench.dgl_peer import NoDGL
from dqrun.bench.peer_runs import Inputs, fp32_peers, peer_runs, require_agreement, variants
from dqrun.config import ModelConfig
from dqrun.errors import DqrunError
from dqrun.graphs import pyg
from dqrun.nn.build import build_network, uses_self_loops

HAS_DGL = importlib.util.find_spec("dgl") is not None


def inputs(name: str, graph_level: bool = True, **options: object) -> Inputs:
    """A small network and two batches of directed edges, none twice."""
    config = ModelConfig(name=name, layers=2, hidden=8, heads=2, **options)
    generator, batches = torch.Generator().manual_seed(0), []
    for nodes in (20, 31):
        edges = torch.randint(nodes, (2, 90), generator=generator)
        edges = edges[:, edges[0] != edges[1]].unique(dim=1)
        batch = torch.arange(nodes) * 3 // nodes if graph_level else None
        graph = pyg.build_graph(edges, nodes, batch, uses_self_loops(config))
        batches.append((torch.randn(nodes, 6, generator=generator), graph))
    torch.manual_seed(0)
    return Inputs(config, build_network(config, 6, 0, 4, graph_level).eval(), batches)


@pytest.mark.parametrize("name", ["gcn", "gat", "gin", "sage", "gatv2"])
def test_runs_agree_on_each_batch(name: str) -> None:
    """FP32 to the order of sums; BF16, which is another network by its rounding, roughly and not exactly."""
    given = inputs(name)
    runs, left_out = peer_runs(given, compiled=False)
    assert {"edge_index", "edge_index_bf16"} <= set(runs)
    assert ("dgl" in runs) == HAS_DGL or "dgl" in left_out
    for i, (x, graph) in enumerate(given.batches):
        expected = given.fp32(x, graph).detach()
        for form, run in runs.items():
            apart = float((run(i).float() - expected).abs().max() / expected.abs().max())
            assert apart < 1e-5 if form in fp32_peers(runs) else 0 < apart < 0.05, form


def test_repeated_edges_leave_out_the_form_that_merges_them() -> None:
    """In any batch: the peers over the other forms have our own logits still."""
    given = inputs("gin")
    x, graph = given.batches[1]
    edges = torch.stack([graph.csr.col, graph.csr.row])
    twice = pyg.build_graph(torch.cat([edges, edges[:, :3]], 1), graph.num_nodes, graph.batch, False)
    repeated = replace(given, batches=[given.batches[0], (x, twice)])
    runs, left_out = peer_runs(repeated, compiled=False)
    assert left_out["adj_t"] == "it makes repeated edges one" and not {"adj_t", "adj_t_bf16"} & set(runs)
    expected = given.fp32(x, twice).detach()
    for form in fp32_peers(runs):
        torch.testing.assert_close(runs[form](1), expected, rtol=1e-4, atol=1e-5)
    assert "adj_t" not in peer_runs(given, compiled=False)[1]


def test_another_result_is_refused() -> None:
    runs, _ = peer_runs(inputs("gcn"), compiled=False)
    assert 0 <= require_agreement(runs["edge_index"](0), runs) < 1e-5
    with pytest.raises(DqrunError, match="the peer over edge_index differs by"):
        require_agreement(runs["edge_index"](0) + 1, runs)


def test_dgl_is_left_out_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    dgl_peer.dgl.cache_clear()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    runs, left_out = peer_runs(inputs("gin"), compiled=False)
    dgl_peer.dgl.cache_clear()
    assert left_out["dgl"] == "DGL is not installed (pip install --no-deps dgl==2.1.0)" and "dgl" not in runs


@pytest.mark.skipif(not HAS_DGL, reason="DGL is not installed")
@pytest.mark.parametrize("graph_level", [True, False])
@pytest.mark.parametrize("name", ["gcn", "gat", "gin", "sage", "gatv2"])
def test_dgl_agrees(name: str, graph_level: bool) -> None:
    given = inputs(name, graph_level, out_heads=2, norm="batch", residual=True)
    expected = given.fp32(*given.batches[0]).detach()
    torch.testing.assert_close(given.run("dgl")[0](0), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.skipif(not HAS_DGL, reason="DGL is not installed")
def test_layers_without_a_form_in_dgl() -> None:
    with pytest.raises(NoDGL, match="DGL has no layer here for Linear"):
        dgl_peer.to_dgl(torch.nn.Linear(1, 1))


def test_which_run_stands_for_a_variant() -> None:
    seconds = {"edge_index": 3.0, "adj_t": 2.0, "EdgeIndex": 1.0, "adj_t_compiled": 4.0, "edge_index_compiled": 5.0}
    assert variants(seconds) == {
        "pyg_fp32_edge_index": "edge_index",
        "pyg_fp32_csr": "EdgeIndex",
        "pyg_fp32_compiled": "adj_t_compiled",
    }
    seconds |= {"dgl": 1.0, "edge_index_bf16": 2.0, "adj_t_bf16": 1.0, "dgl_bf16": 0.5}
    found = variants(seconds)
    assert (found["dgl_fp32"], found["pyg_bf16"], found["dgl_bf16"]) == ("dgl", "adj_t_bf16", "dgl_bf16")
    assert fp32_peers(seconds) == list(seconds)[:6]
