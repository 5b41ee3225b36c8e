"""Errors at nodes, of trained networks."""

from pathlib import Path

import pytest

from dqrun.analysis.degrees import node_errors
from dqrun.analysis.networks import Datasets
from dqrun.analysis.rows import Run, config_of, load_runs
from dqrun.errors import DataError


def run_of(folder: Path, dataset: str, quant: str) -> Run:
    return next(run for run in load_runs([folder])[0] if (run.row["dataset"], run.row["quant"]) == (dataset, quant))


def test_nodes_of_a_part_with_their_degrees(trained: Path) -> None:
    errors = node_errors(run_of(trained, "network", "int4"), Datasets(), "train")
    assert errors.degree.tolist() == [39, *[1] * 9]  # node 0 is the hub; self-loops of GCN are not counted
    assert (errors.squared > 0).any() and (errors.power > 0).any()
    assert errors.hit is not None and errors.hit.dtype == bool and len(errors.hit) == 10


def test_accuracy_is_that_of_the_row(trained: Path) -> None:
    for quant in ("fp32", "int4"):
        run = run_of(trained, "network", quant)
        errors = node_errors(run, Datasets(), "test")
        assert errors.hit is not None and errors.hit.mean() == pytest.approx(run.row["test_metric"])


def test_fp32_has_no_error(trained: Path) -> None:
    errors = node_errors(run_of(trained, "network", "fp32"), Datasets(), "test")
    assert (errors.squared == 0).all() and errors.hit is not None
    assert (errors.hit == errors.hit_fp32).all()


def test_graph_tasks_have_errors_only(trained: Path) -> None:
    run = run_of(trained, "threads", "int4")
    datasets = Datasets()
    errors = node_errors(run, datasets, "test")
    data = datasets.trial(config_of(run), None)
    nodes = sum(batch.graph.num_nodes for batch in data.batches("test"))
    assert errors.hit is None and len(errors.degree) == nodes and (errors.squared > 0).any()


def test_a_run_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"model\.safetensors is not a readable model file"):
        node_errors(Run({"fold": None}, tmp_path), Datasets(), "test")
