"""`dqrun bench scale` on small graphs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from dqrun.bench.large_graph import PRODUCTS, large_graph
from dqrun.bench.peers import EDGE_FORMS
from dqrun.bench.scale_cli import FORMS
from dqrun.cli import main as dqrun


def test_a_generated_graph_has_hubs_and_the_sizes_asked_for() -> None:
    size = PRODUCTS.with_nodes(500)
    dataset = large_graph(size)
    assert (dataset.num_nodes, dataset.num_edges) == (500, size.edges) and dataset.packed.edges.col.dtype == torch.int32
    degree = dataset.packed.edges.edges_in.sort().values
    assert degree[-5:].sum() > 5 * degree[:250].sum() / 50
    assert dataset.official is not None and len(dataset.official.train) == size.train


def test_each_part_has_its_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "scale.json"
    small = ["quant=int8", "model.hidden=8", "loader.batch_size=8", "loader.block=200", "threads=1"]
    assert dqrun(["bench", "scale", *small, "--divide", "5000", "--rounds", "1", "--json", str(file)]) == 0
    full, sampled, growth = capsys.readouterr().out.split("\n\n")[:3]
    assert all(name in full for name in ("pyg_edge_index", "pyg_adj_t", "dq_int8"))
    assert "dq_int8" in sampled and growth.count("dq_int8") == 3
    lines = json.loads(file.read_text())["results"]
    fastest = min(line["step_seconds"] for line in lines if line["variant"].startswith("pyg"))
    assert lines[0]["ratio_to_fastest_pyg"] == lines[0]["step_seconds"] / fastest
    assert sum("epoch_seconds" in line for line in lines) == 1 and len(lines) == 4 + 1 + 3


def test_pyg_is_given_the_chosen_forms(tmp_path: Path) -> None:
    file = tmp_path / "scale.json"
    small = ["full", "quant=fp32", "model.hidden=8", "threads=1", "--divide", "5000", "--rounds", "1"]
    assert dqrun(["bench", "scale", *small, "--forms", "adj_t", "--json", str(file)]) == 0
    assert [line["variant"] for line in json.loads(file.read_text())["results"]] == ["pyg_adj_t", "fp32"]


def test_the_names_of_forms_are_those_of_the_peers() -> None:
    assert tuple(EDGE_FORMS) == FORMS


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["ful"], "a part must be one of full, sampled, growth, got 'ful'"),
        (["--divide", "0"], "--divide must be in 1..5000, got 0"),
        (["--forms", "adj_t,csr"], "--forms must be one of edge_index, adj_t, EdgeIndex, got 'csr'"),
        (["full", "modl=gcn"], "modl"),
    ],
)
def test_a_mistake_is_one_line(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert dqrun(["bench", "scale", *words]) == 2
    shown = capsys.readouterr()
    assert shown.err.count("\n") == 1 and message in shown.err
