"""A small sweep, run as a command line by any launcher."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

FAULTS = Path(__file__).parent / "faults"
REPOSITORY = Path(__file__).parents[2]
SMALL = [
    *("dataset.graphs=20", "model.hidden=8", "model.layers=2", "train.epochs=3", "train.batch_size=8"),
    *("protocol.trials=1", "threads=1"),
]
CUBE = ["model=gcn,gin", "quant=int8,int4", "method=naive,dq"]  # 2 x 2 x 2
FAULTY = ["model=gcn", "dataset.seed=13,14,15"]  # one raises, one dies, one is well
VARYING = {"seconds", "seconds_per_epoch", "peak_bytes", "finished_utc"}
Run = Callable[..., subprocess.CompletedProcess[str]]


def environment() -> dict[str, str]:
    """This process's, with the faults switched on for the seeds that ask for them."""
    settings = {"PYTHONPATH": os.pathsep.join([str(FAULTS), str(REPOSITORY)]), "RAY_AUTH_MODE": "disabled"}
    return {**os.environ, **settings}


@pytest.fixture(scope="session")
def run() -> Run:
    """Runs `dqrun -m` in a folder, whose `results` it fills."""

    def run(folder: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
        folder.mkdir(exist_ok=True)
        command = [sys.executable, "-m", "dqrun", "-m", *SMALL, *overrides]
        return subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True, timeout=300)

    return run


def rows(folder: Path) -> dict[str, dict[str, Any]]:
    """What a sweep's rows say apart from times and memory, by run_id."""
    found = {}
    for path in (folder / "results" / "runs").glob("*/row.json"):
        row = json.loads(path.read_text())
        found[path.parent.name] = {key: value for key, value in row.items() if key not in VARYING}
    return found


@pytest.fixture(scope="session")
def truth(run: Run, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """The rows that the plain launcher gives."""
    folder = tmp_path_factory.mktemp("plain")
    done = run(folder, *CUBE)
    assert done.returncode == 0, done.stderr
    return rows(folder)


def check_cube(folder: Path, done: subprocess.CompletedProcess[str], truth: dict[str, dict[str, Any]]) -> None:
    """A launcher's sweep must have the rows of the plain one, and have left nothing else."""
    assert done.returncode == 0, done.stderr
    assert len(truth) == 8 and rows(folder) == truth
    assert "SYNTHETIC" in done.stderr
    assert sorted(path.name for path in (folder / "results").iterdir()) == [
        *(".tables.lock", "runs", "summary.csv", "trials.csv"),
    ]


def check_faulty(folder: Path, done: subprocess.CompletedProcess[str], death: str) -> None:
    """The sweep must have gone on and list both failures at its end."""
    assert done.returncode == 1, done.stderr
    listed = done.stderr[done.stderr.index("2 of 3 trials failed:") :]
    assert "RuntimeError: this trial raises (see runs/" in listed and death in listed
    assert "Traceback" not in done.stderr
    statuses = sorted(row["status"] for row in rows(folder).values())
    assert statuses == ["done", "failed", "failed"]
    for row in rows(folder).values():
        assert not row["log"] or (folder / "results" / row["log"]).read_text().strip()
