"""A small sweep, run as a command line by any launcher."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import dqrun
from dqrun.cli import main

FAULTS = Path(__file__).parent / "faults"
PACKAGE = str(Path(dqrun.__file__).parents[1])  # of the dqrun that is tested, installed or not
SMALL = [
    *("dataset.graphs=20", "model.hidden=8", "model.layers=2", "train.epochs=3", "train.batch_size=8"),
    *("protocol.trials=1", "threads=1"),
]
PRODUCT = ["model=gcn,gin", "method=naive,dq"]
FAULTY = ["model=gcn", "dataset.seed=13,14,15"]  # one raises, one dies, one is well
VARYING = {"seconds", "setup_seconds", "seconds_per_epoch", "peak_bytes", "finished_utc"}


class Sweeps:
    """Runs and judges sweeps; each has a folder of its own, whose `results` it fills."""

    small, product, faulty = SMALL, PRODUCT, FAULTY

    def __init__(self, plain: Path) -> None:
        assert main(["-m", *SMALL, *PRODUCT, f"results.dir={plain / 'results'}", "-q"]) == 0
        self.truth = rows(plain)

    def environment(self) -> dict[str, str]:
        """This process's, with the faults switched on for the seeds that ask for them."""
        settings = {"PYTHONPATH": os.pathsep.join([str(FAULTS), PACKAGE]), "RAY_AUTH_MODE": "disabled"}
        return {**os.environ, **settings}

    def run(self, folder: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
        """`dqrun -m` as a command line."""
        command = [sys.executable, "-m", "dqrun", "-m", *SMALL, *overrides]
        return subprocess.run(command, cwd=folder, env=self.environment(), capture_output=True, text=True, timeout=300)

    def check_product(self, folder: Path, *overrides: str) -> None:
        """A launcher's sweep must have the rows of the plain one, and leave nothing else."""
        done = self.run(folder, *PRODUCT, *overrides)
        assert done.returncode == 0, done.stderr
        assert len(self.truth) == 4 and rows(folder) == self.truth
        assert "SYNTHETIC" in done.stderr
        left = sorted(path.name for path in (folder / "results").iterdir())
        assert left == ["runs", "summary.csv", "trials.csv"]

    def check_faulty(self, folder: Path, death: str, *overrides: str) -> None:
        """A sweep with a trial that raises and one that dies must go on and list both at its end."""
        done = self.run(folder, *FAULTY, *overrides)
        assert done.returncode == 1, done.stderr
        listed = done.stderr[done.stderr.index("2 of 3 trials failed:") :]
        assert "RuntimeError: this trial raises (see runs/" in listed and death in listed
        assert "Traceback" not in done.stderr
        assert sorted(row["status"] for row in rows(folder).values()) == ["done", "failed", "failed"]
        for row in rows(folder).values():
            assert not row["log"] or (folder / "results" / row["log"]).read_text().strip()


def rows(folder: Path) -> dict[str, dict[str, Any]]:
    """What a sweep's rows say apart from times and memory, by run_id."""
    found = {}
    for path in (folder / "results" / "runs").glob("*/row.json"):
        row = json.loads(path.read_text())
        found[path.parent.name] = {key: value for key, value in row.items() if key not in VARYING}
    return found


@pytest.fixture(scope="session")
def sweeps(tmp_path_factory: pytest.TempPathFactory) -> Sweeps:
    """What runs and judges sweeps; making it runs the plain one."""
    return Sweeps(tmp_path_factory.mktemp("plain"))
