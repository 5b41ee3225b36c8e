"""From run folders to datasets, networks and costs."""

from pathlib import Path

from dqrun.config import DataConfig
from dqrun.report.networks import Datasets, costs_of, usable_here
from dqrun.report.rows import Run, config_of, load_runs


def run_of(folder: Path, dataset: str, quant: str) -> Run:
    return next(run for run in load_runs([folder])[0] if (run.row["dataset"], run.row["quant"]) == (dataset, quant))


def test_costs_of_a_run(trained: Path) -> None:
    datasets = Datasets()
    run = run_of(trained, "network", "fp32")
    found = costs_of(run, datasets)
    assert found.model_bytes == 4 * run.row["parameters"]
    hidden = config_of(run).model.hidden
    assert found.macs == 40 * (2 * hidden + hidden * 2) + (78 + 40) * (hidden + 2)  # 78 edges and 40 self-loops
    assert costs_of(run_of(trained, "network", "int4"), datasets).mean_bits == 4


def test_graph_tasks_cost_per_mean_graph(trained: Path) -> None:
    datasets = Datasets()
    run = run_of(trained, "threads", "fp32")
    dataset = datasets.of(config_of(run))
    assert dataset is datasets.of(config_of(run_of(trained, "threads", "int4")))
    assert costs_of(run, datasets).macs < costs_of(run, datasets).macs * dataset.num_graphs
    assert dataset.num_graphs == 20


def test_folders_of_another_machine_are_replaced_by_this_ones(tmp_path: Path) -> None:
    assert usable_here(DataConfig("/no/such/root", "/no/such/mirror")) == DataConfig(None, None)
    assert usable_here(DataConfig(str(tmp_path), None)) == DataConfig(str(tmp_path), None)
