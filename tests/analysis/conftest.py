"""Results folders made of rows, for the tests of tables and pictures."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from dqrun.analysis.cells import Cell
from dqrun.analysis.rows import Run
from dqrun.runs.row import Row

MakeRun = Callable[..., Run]
WriteRun = Callable[..., Path]

CONFIG = """\
protocol: {{name: {protocol}, num_folds: 10, split_seed: {split_seed}}}
train: {{epochs: {epochs}, lr: {lr}}}
"""


@pytest.fixture
def make_run(row: Row, tmp_path: Path) -> MakeRun:
    """A trial in memory; fields of its row by name. Its hashes follow from what tells it apart."""

    def make(**fields: Any) -> Run:
        made = asdict(replace(row, **fields))
        cell = [made[name] for name in ("dataset", "model", "quant", "method", "plan", "estimator")]
        made["cell_hash"] = fields.get("cell_hash", re.sub(r"[^\w.-]", "_", "-".join(map(str, cell))))
        made["config_hash"] = fields.get("config_hash", f"{made['cell_hash']}-{made['seed']}-{made['fold']}")
        made["run_id"] = fields.get("run_id", made["config_hash"])
        return Run(made, tmp_path / "nowhere" / "runs" / made["run_id"])

    return make


@pytest.fixture
def write_run(make_run: MakeRun, tmp_path: Path) -> WriteRun:
    """Writes a trial into the folder `results` (or `into`), with a config.yaml of few fields; returns its folder."""

    def write(into: str = "results", lr: float = 0.01, budget: int = 100, split_seed: int = 1, **fields: Any) -> Path:
        run = make_run(**fields)
        folder = tmp_path / into / "runs" / str(run.row["run_id"])
        folder.mkdir(parents=True)
        (folder / "row.json").write_text(json.dumps(run.row))
        protocol = run.row["protocol"]
        text = CONFIG.format(protocol=protocol, split_seed=split_seed, epochs=budget, lr=lr)
        (folder / "config.yaml").write_text(text)
        return folder

    return write


@pytest.fixture
def make_cell(make_run: MakeRun) -> Callable[..., Cell]:
    """A cell of trials with the given test metrics, seeds counted from 0."""

    def make(*values: float, **fields: Any) -> Cell:
        return Cell(tuple(make_run(seed=i, test_metric=value, **fields) for i, value in enumerate(values)))

    return make


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder with real trials of few epochs: GCN on a small network of nodes, GIN on generated threads."""
    from dqrun.composition.compose import load_configs
    from dqrun.sweep.run import run_all

    root = tmp_path_factory.mktemp("trained")
    nodes = write_network(root / "network")
    common = [f"results.dir={root / 'results'}", "protocol.trials=2", "threads=1", "train.epochs=4"]
    configs = []
    for quant in ("quant=fp32", "quant=int4"):
        task = ["dataset=folder", f"dataset.path={nodes}", "dataset.task=node_classification", "dataset.name=network"]
        configs += load_configs([*common, *task, "model=gcn", quant])
        configs += load_configs([*common, "dataset.graphs=20", "model=gin", "model.hidden=8", quant])
    assert run_all(configs, quiet=True) == 0
    return root / "results"


def write_network(folder: Path) -> Path:
    """40 nodes in two classes; node 0 is a hub with an edge from each other one, the others form a ring."""
    folder.mkdir()
    parts = ("train", "val", "test", "test")
    nodes = [f"{i},{i % 2},{parts[i // 2 % 4]},{i % 2},{(i * 7) % 5}" for i in range(40)]
    (folder / "nodes.csv").write_text("\n".join(["node,label,split,a,b", *nodes]) + "\n")
    edges = [f"{i},0" for i in range(1, 40)] + [f"{i},{i % 39 + 1}" for i in range(1, 40)]
    (folder / "edges.csv").write_text("\n".join(["source,target", *edges]) + "\n")
    return folder
