"""Cores that may be used, and threads that are."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from dqrun.process.cores import usable_cores, use_threads

NONE = Path("no/such/folder")


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def affinity(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """Cores that this process seems to be bound to; a test changes them."""
    cores = {0, 1, 2}
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: cores, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    return cores


def test_affinity_bounds_the_cores(affinity: set[int]) -> None:
    assert usable_cores(NONE) == 3
    affinity.difference_update({1, 2})
    assert usable_cores(NONE) == 1


def test_without_affinity_all_cores_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 5)
    assert usable_cores(NONE) == 5


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "10000 100000\n"}, 1),
        ({"cpu.max": "max 100000\n"}, 3),
        ({"cpu.max": "none of it\n"}, 3),
        ({"cpu/cpu.cfs_quota_us": "100000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
    ],
)
def test_the_quota_of_a_container_bounds_them_too(
    files: dict[str, str], cores: int, affinity: set[int], tmp_path: Path
) -> None:
    (tmp_path / "cpu").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert usable_cores(tmp_path) == cores


@pytest.mark.parametrize(
    ("wanted", "used", "said"),
    [
        (0, 1, []),
        (1, 1, []),
        (100000, 1, ["threads=100000 is more than the usable CPU cores: 1 used"]),
    ],
)
def test_threads_are_clamped_and_that_is_said(
    wanted: int, used: int, said: list[str], affinity: set[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    affinity.difference_update({1, 2})
    lines: list[str] = []
    use_threads(wanted, lines.append)
    assert (torch.get_num_threads(), lines) == (used, said)


def test_kernels_run_where_torch_has_more_threads_than_numba_allows() -> None:
    """As in a process that is bound to one core, or that asked torch for more threads before a kernel was loaded."""
    code = (
        "import os, torch; cores = sorted(os.sched_getaffinity(0)); os.sched_setaffinity(0, cores[:1]); "
        "torch.set_num_threads(3); from dqrun.kernels.cpu import launch; print(launch.parts(10**9))"
    )
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("this system binds no process to cores")
    environment = {name: value for name, value in os.environ.items() if name != "NUMBA_NUM_THREADS"}
    command = [sys.executable, "-c", code]
    assert subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout == "1\n"
