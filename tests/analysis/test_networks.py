"""From run folders to datasets, networks and costs."""

from dataclasses import replace
from pathlib import Path

import pytest

from dqrun.analysis.networks import Datasets
from dqrun.analysis.rows import Run, config_of, load_runs
from dqrun.config import DataConfig
from dqrun.errors import DataError


def run_of(folder: Path, dataset: str, quant: str) -> Run:
    return next(run for run in load_runs([folder])[0] if (run.row["dataset"], run.row["quant"]) == (dataset, quant))


def test_costs_of_a_run(trained: Path) -> None:
    datasets = Datasets()
    run = run_of(trained, "network", "fp32")
    found = datasets.costs(run)
    assert found.model_bytes == 4 * run.row["parameters"]
    hidden = config_of(run).model.hidden
    assert found.macs == 40 * (2 * hidden + hidden * 2) + (78 + 40) * (hidden + 2)  # 78 edges and 40 self-loops
    assert datasets.costs(run_of(trained, "network", "int4")).mean_bits == 4


def test_graph_tasks_cost_per_mean_graph(trained: Path) -> None:
    datasets = Datasets()
    run = run_of(trained, "threads", "fp32")
    dataset = datasets.of(config_of(run))
    assert dataset is datasets.of(config_of(run_of(trained, "threads", "int4")))
    assert datasets.costs(run).macs < datasets.costs(run).macs * dataset.num_graphs
    assert dataset.num_graphs == 20


def test_folders_that_a_run_names_are_not_used(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[DataConfig] = []
    monkeypatch.setattr("dqrun.analysis.networks.load_stored", lambda dataset, data: asked.append(data))
    config = config_of(run_of(trained, "threads", "fp32"))
    foreign = replace(config, data=DataConfig(root=str(tmp_path), mirror=str(tmp_path)))
    Datasets().of(foreign)
    Datasets(DataConfig(root="mine")).of(foreign)
    assert asked == [DataConfig(), DataConfig(root="mine")]


def test_networks_that_differ_in_training_only_are_counted_once(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets, first, second = Datasets(), run_of(trained, "network", "int4"), run_of(trained, "network", "int4")
    assert second.config is not None
    second.config["train"]["lr"] = 0.5
    found = datasets.costs(first)
    monkeypatch.setattr(Datasets, "trial", None)
    assert datasets.costs(second) is found
    second.config["model"]["hidden"] = 5
    with pytest.raises(TypeError):
        datasets.costs(second)


def test_a_run_without_a_configuration(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"config\.yaml can't be read"):
        Datasets().costs(Run({"fold": None}, tmp_path))
