"""Small parts of `benchmarks/attacks`, in this process, and whether the attacks notice a fault."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


def load(repository: Path, name: str) -> ModuleType:
    file = repository / "benchmarks" / "attacks" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"attacks_{name}", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_damaged_folders_are_read_without_failures(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = load(repository, "rows")
    assert rows.main(15, seed=1) == 0
    assert capsys.readouterr().out.startswith("15 damaged results folders (")


def test_a_command_that_fails_is_noticed(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = load(repository, "rows")
    monkeypatch.setattr(rows, "dqrun", lambda words: 2)
    assert rows.main(1, seed=1) == 1


def test_file_system_faults_leave_the_old_or_the_new(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert load(repository, "faults").main(50, seed=1) == 0
    assert capsys.readouterr().out.startswith("50 file-system faults in run, run again")


@pytest.mark.parametrize(("scene", "writer"), [("run again", "runs.store.sync_tree"), ("file", "durable.sync_file")])
def test_a_writer_that_does_not_wait_for_the_disk_is_noticed(
    repository: Path, scene: str, writer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = load(repository, "faults")
    monkeypatch.setattr(f"dqrun.{writer}", lambda path: None)
    _, calls = faults.tried(scene, 0, faults.POWER, tmp_path / "results")
    found = [faults.tried(scene, at, faults.POWER, tmp_path / "results")[0] for at in range(1, calls + 1)]
    assert any(found)
