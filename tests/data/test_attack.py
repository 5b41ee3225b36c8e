"""A small part of `benchmarks/attacks/data.py`, in this process: refusals, and what a second reader reads too."""

from __future__ import annotations

import importlib.util
from collections import Counter
from pathlib import Path

import pytest


def test_crafted_files_are_refused_or_mean_what_they_say(
    repository: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = repository / "benchmarks" / "attacks"
    monkeypatch.syspath_prepend(str(folder))
    spec = importlib.util.spec_from_file_location("attacks_data", folder / "data.py")
    assert spec is not None and spec.loader is not None
    data = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(data)
    found: Counter[str] = Counter()
    for content in data.crafted(48, seed=2):
        (tmp_path / "case").write_bytes(content)
        found[data.pool.verdict(data.judge, tmp_path / "case")] += 1
    assert set(found) == {"refused", "ran"}
    assert found["ran"] > 5
