"""Wrong edges and features, and flipped bits, on small networks; the words of the verb."""

from __future__ import annotations

import csv
import io

import pytest
import torch

from dqrun.analysis.perturbation import WeightBits, perturb_edges, perturb_features
from dqrun.analysis.robustness import Finding, write_findings
from dqrun.cli.verbs import robustness
from dqrun.composition.compose import load_configs
from dqrun.errors import ConfigError
from dqrun.graphs import CSR, Batch, Graph
from dqrun.nn import GNN
from dqrun.nn.build import build_model

NODES, CHANNELS = 40, 6


def batch() -> Batch:
    """Two graphs of 20 nodes, each edge within its graph, and a self-loop at each node."""
    generator = torch.Generator().manual_seed(0)
    edges = torch.randint(20, (2, 100), generator=generator)
    edges = edges[:, edges[0] != edges[1]]
    loops = torch.arange(NODES).expand(2, -1)
    of_graph = torch.arange(NODES) // 20
    csr = CSR.from_edge_index(torch.cat([edges, edges + 20, loops], 1), NODES)
    graph = Graph(csr, torch.tensor([0, 20, 40]), of_graph, torch.ones(NODES))
    return Batch(graph, torch.randn(NODES, CHANNELS, generator=generator), torch.zeros(NODES, dtype=torch.int64))


def network(*words: str) -> GNN:
    given = ["dataset=cora", "model=gcn", "model.hidden=8", "quant=int1", "method=binary", "plan=products", *words]
    torch.manual_seed(0)
    return build_model(load_configs(given)[0], CHANNELS, 0, 3).eval()


def test_a_share_of_the_edges_gets_another_source_in_its_graph() -> None:
    given = batch()
    made = perturb_edges(given, 0.5, torch.Generator().manual_seed(1)).graph
    before, after = given.graph.csr, made.csr
    assert torch.equal(before.row, after.row)
    loops = before.row == before.col
    assert torch.equal(before.col[loops], after.col[loops])
    moved = (before.col != after.col).sum().item() / (~loops).sum().item()
    assert 0.35 < moved <= 0.5  # some draw the source that they had
    assert torch.equal(made.batch[after.col], made.batch[after.row])
    again = perturb_edges(given, 0.5, torch.Generator().manual_seed(1)).graph.csr
    other = perturb_edges(given, 0.5, torch.Generator().manual_seed(2)).graph.csr
    assert torch.equal(again.col, after.col) and not torch.equal(other.col, after.col)
    assert torch.equal(perturb_edges(given, 0.0, torch.Generator()).graph.csr.col, before.col)


def test_a_share_of_the_features_comes_from_other_nodes_in_the_same_channel() -> None:
    given = batch()
    x, y = given.x, perturb_features(given, 0.3, torch.Generator().manual_seed(1)).x
    assert isinstance(x, torch.Tensor) and isinstance(y, torch.Tensor)
    assert 0.2 < (x != y).float().mean().item() < 0.4
    assert all(set(y[:, c].tolist()) <= set(x[:, c].tolist()) for c in range(CHANNELS))
    assert torch.equal(perturb_features(given, 0.0, torch.Generator()).x, x)


@pytest.mark.parametrize(
    ("words", "bits"),
    [
        ((), 1),
        (("quant=int4", "method=naive"), 4),
        (("quant.weight_bits=2",), 2),
        (("quant.weight_bits=2", "method.weight_form=two_binaries"), 2),
    ],
)
def test_bits_of_the_weights_are_counted_flipped_and_put_back(words: tuple[str, ...], bits: int) -> None:
    model, given = network(*words), batch()
    if "method=naive" in words:
        model.train()(given.x, given.graph)
        model.eval()
    clean = model(given.x, given.graph)
    of_model = WeightBits.of(model)
    assert of_model.total == bits * (CHANNELS * 8 + 8 * 3)
    with of_model.flipped(0, torch.Generator().manual_seed(0)):
        torch.testing.assert_close(model(given.x, given.graph), clean)
    with of_model.flipped(of_model.total // 4, torch.Generator().manual_seed(0)):
        assert not torch.allclose(model(given.x, given.graph), clean)
    assert torch.equal(model(given.x, given.graph), clean)


def test_all_bits_of_signs_flipped_are_the_negative_weight() -> None:
    model = network()
    of_model = WeightBits.of(model)
    site, weight = model.layers[0].sites.weight, model.layers[0].weight
    before = site(weight)
    with of_model.flipped(of_model.total, torch.Generator().manual_seed(0)):
        torch.testing.assert_close(site(weight), -before)


def test_amounts_and_what_has_no_bits() -> None:
    of_model = WeightBits.of(network())
    assert of_model.number(7) == 7 and of_model.number(0.25) == 18
    with pytest.raises(ConfigError, match=r"--flips must be at most the 72 bits of the weights, got 73"):
        of_model.number(73)
    with pytest.raises(ConfigError, match="no quantised weights whose bits could be flipped"):
        WeightBits.of(network("quant=fp32"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "must be given --edges, --features or --flips"),
        (("--edges", "1.5"), r"--edges must be whole numbers >= 1, or shares in \[0, 1\), got 1.5"),
        (("--edges", "2"), r"--edges must be shares in \[0, 1\], got 2"),
        (("--flips", "many"), "--flips must be numbers between commas, got 'many'"),
        (("--flips", "-1"), "--flips must be whole numbers >= 1, or shares"),
        (("--edges", "0.1", "--draws", "0"), "--draws must be >= 1, got 0"),
        (("--edges", "0.1", "--seed=-1"), r"--seed must be in 0\.\.2\^32 - 1"),
    ],
)
def test_mistakes_are_told_in_one_line(words: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        robustness.main(["somewhere", *words])


def test_the_table_is_csv() -> None:
    line = Finding("r", "Cora", "gcn", "int1", "bigcn", "weight_bits", 0.1, 7, 72, "accuracy", 0.8, 0.7, 0.01, 5)
    stream = io.StringIO()
    write_findings(stream, [line])
    (read,) = csv.DictReader(io.StringIO(stream.getvalue()))
    assert read["run"] == "r" and read["flipped_bits"] == "7" and read["clean"] == "0.8"
