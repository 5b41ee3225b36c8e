"""A small part of `benchmarks/attacks/rows.py`, in this process: good runs stay, commands end in one line."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def rows(repository: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("attacks_rows", repository / "benchmarks" / "attacks" / "rows.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_damaged_folders_are_read_without_failures(rows: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert rows.main(15, seed=1) == 0
    assert capsys.readouterr().out.startswith("15 damaged results folders (")


def test_a_failure_is_noticed(rows: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "dqrun", lambda words: 2)
    assert rows.main(1, seed=1) == 1
