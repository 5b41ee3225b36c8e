"""A small part of `benchmarks/attacks/programs.py`, in this process: nothing but refusals and equal results."""

from __future__ import annotations

import importlib.util
from collections import Counter
from pathlib import Path

import pytest


def test_damaged_programs_are_refused_or_run(repository: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = repository / "benchmarks" / "attacks"
    monkeypatch.syspath_prepend(str(folder))
    spec = importlib.util.spec_from_file_location("attacks_programs", folder / "programs.py")
    assert spec is not None and spec.loader is not None
    programs = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(programs)
    found: Counter[str] = Counter()
    for data in programs.mutants(120, seed=1):
        (tmp_path / "a.dqp").write_bytes(data)
        found[programs.pool.verdict(programs.judge, tmp_path / "a.dqp")] += 1
    programs.pool.fill_memory(0)
    assert set(found) == {"refused", "ran"}
    assert found["ran"] > 5
