"""launcher=parallel: processes on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.launchers.conftest import CUBE, FAULTY, Run, check_cube, check_faulty

pytest.importorskip("joblib", reason="needs the extra [parallel]")


def test_it_gives_the_rows_of_the_plain_launcher(run: Run, truth: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    check_cube(tmp_path, run(tmp_path, *CUBE, "launcher=parallel", "jobs=2"), truth)


def test_failures_of_all_kinds_are_listed(run: Run, tmp_path: Path) -> None:
    check_faulty(tmp_path, run(tmp_path, *FAULTY, "launcher=parallel", "jobs=2"), "its process died")
