"""launcher=parallel: processes on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def test_it_gives_the_rows_of_the_plain_launcher(sweeps: Any, tmp_path: Path) -> None:
    sweeps.check_product(tmp_path, "launcher=parallel", "jobs=2")


def test_failures_of_all_kinds_are_listed(sweeps: Any, tmp_path: Path) -> None:
    sweeps.check_faulty(tmp_path, "its process died", "launcher=parallel", "jobs=2")
