"""Results folders made of rows, for the tests of tables and pictures."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from dqrun.report.cells import Cell
from dqrun.report.rows import Run
from dqrun.results import Row

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
        made["cell_hash"] = fields.get("cell_hash", "-".join(map(str, cell)))
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
