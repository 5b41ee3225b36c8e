"""The page of figures says what the files of figures say, and the scripts run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture
def tables(repository: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(repository / "benchmarks"))
    import tables

    return tables


def test_the_tables_are_those_of_the_files(tables, repository: Path) -> None:
    for name, block in zip(tables.PAGES, ("scaling", "summary", "parity", "codes"), strict=True):
        page = (repository / name).read_text(encoding="utf-8")
        assert f"<!-- {block} -->" in page
        assert tables.filled(page) == page


def test_scaling_runs_on_small_graphs(repository: Path, tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    script = repository / "benchmarks" / "scaling.py"
    command = [sys.executable, str(script), "--edges", "2000", "--threads", "1", "--json", str(file)]
    shown = subprocess.run(command, check=True, capture_output=True, text=True, cwd=repository).stdout
    results = json.loads(file.read_text(encoding="utf-8"))["results"]
    assert {line["shape"] for line in results} == {"uniform", "power law", "hub"}
    assert all(line["seconds"] > 0 for line in results)
    assert all(f"| `{line['kernel']}` |" in shown for line in results)
