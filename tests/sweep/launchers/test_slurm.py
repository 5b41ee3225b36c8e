"""launcher=slurm: submitit's local executor stands in for a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dqrun.composition.compose import load_configs

pytest.importorskip("submitit", reason="needs the extra [slurm]")
LOCAL = ["launcher=slurm", "launcher.cluster=local", "jobs=2"]


def test_it_gives_the_rows_of_the_plain_launcher(sweeps: Any, tmp_path: Path) -> None:
    sweeps.check_product(tmp_path, *LOCAL)


def test_failures_of_all_kinds_are_listed(sweeps: Any, tmp_path: Path) -> None:
    sweeps.check_faulty(tmp_path, "its job ended before it", *LOCAL)


def test_what_a_job_asks_for() -> None:
    from dqrun.sweep.launchers.slurm import parameters

    (config,) = load_configs(["launcher=slurm", "launcher.gpus=1", "launcher.partition=short", "launcher.cpus=4"])
    assert parameters(config) == {
        "name": "dqrun",
        "timeout_min": 240,
        "cpus_per_task": 4,
        "mem_gb": 4.0,
        "gpus_per_node": 1,
        "slurm_partition": "short",
    }
