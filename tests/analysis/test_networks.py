"""From run folders to datasets, networks and costs."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from dqrun.analysis.degrees import node_errors
from dqrun.analysis.networks import Datasets
from dqrun.analysis.robustness import Exposure, findings
from dqrun.analysis.rows import Run, config_of, load_runs
from dqrun.cli.verbs.exporting import Run as ExportedRun
from dqrun.config import DataConfig
from dqrun.errors import DataError
from dqrun.runs.model_file import load_model, read_model, save_model
from dqrun.runs.store import MODEL


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


def of_other_data(run: Run, folder: Path) -> Run:
    """The run with a model file whose configuration makes other features than its network has."""
    model, config = load_model(run.folder / MODEL)
    file = read_model(run.folder / MODEL)
    shutil.copy(run.folder / "row.json", folder)
    other = replace(config, dataset=replace(config.dataset, max_one_hot_degree=500))
    save_model(folder / MODEL, model, other, file.shapes, file.features)
    return Run(run.row, folder)


def test_a_network_for_other_data_is_refused_in_one_line(trained: Path, tmp_path: Path) -> None:
    run = of_other_data(run_of(trained, "threads", "int4"), tmp_path)
    message = r"model\.safetensors holds a network for data with in_channels=1, its dataset has \d+$"
    with pytest.raises(DataError, match=message):
        node_errors(run, Datasets(), "test")
    with pytest.raises(DataError, match=message):
        next(findings(run, Datasets(), Exposure(edges=(0.5,))))
    with pytest.raises(DataError, match=message):
        ExportedRun(tmp_path, *load_model(tmp_path / MODEL)).data()


def test_a_run_without_a_configuration(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"config\.yaml can't be read"):
        Datasets().costs(Run({"fold": None}, tmp_path))
