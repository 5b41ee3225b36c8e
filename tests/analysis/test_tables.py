"""Tables as text."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from dqrun.analysis.tables import align, format_mean, format_table, summary_lines, told_apart
from dqrun.runs.store import Results


@pytest.mark.parametrize(
    ("mean", "half_width", "metric", "text"),
    [
        (0.8142, 0.0051, "accuracy", "81.42 % +- 0.51"),
        (0.43121, 0.00214, "mae", "0.4312 +- 0.0021"),
        (0.5, float("nan"), "accuracy", "50.00 %"),
        (float("nan"), float("nan"), "accuracy", "-"),
        (11612.0, float("nan"), "model_bytes", "11.3 KiB"),
        (6.98e6, 1e4, "bit_operations", "6.98 M +- 0.01"),
    ],
)
def test_means(mean: float, half_width: float, metric: str, text: str) -> None:
    assert format_mean(mean, half_width, metric) == text


def test_columns_line_up() -> None:
    assert align([{"a": "xyz", "bb": 1}, {"a": "x", "bb": 22}]).splitlines() == ["a    bb", "xyz  1", "x    22"]
    assert align([]) == "no trials"


def test_cells_of_the_same_names_are_told_apart(write_run: Callable[..., Path], tmp_path: Path) -> None:
    for lr in (0.1, 0.2):
        write_run(seed=0, method="naive", lr=lr, cell_hash=f"naive{lr}")
    write_run(seed=0, method="dq")
    results = Results(tmp_path / "results")
    assert results.rebuild_tables() == []
    hashes = {json.loads(path.read_text())["cell_hash"]: results for path in results.runs.glob("*/row.json")}
    summary = summary_lines(hashes)
    settings = told_apart(summary, hashes)
    assert settings == {"naive0.1": "train.lr=0.1", "naive0.2": "train.lr=0.2"}
    table = format_table(summary, settings)
    assert "settings" in table and "train.lr=0.2" in table
    only = {cell: results for cell in hashes if cell not in settings}
    assert "settings" not in format_table(summary_lines(only), told_apart(summary_lines(only), only))


def test_names_of_the_summary_are_those_of_the_rows(write_run: Callable[..., Path], tmp_path: Path) -> None:
    for name in ("=1+1", "007", "NA", "'=x"):
        write_run(seed=0, dataset=name, cell_hash=f"cell{len(name)}{name[-1]}")
    results = Results(tmp_path / "results")
    assert results.rebuild_tables() == []
    hashes = {json.loads(path.read_text())["cell_hash"]: results for path in results.runs.glob("*/row.json")}
    summary = summary_lines(hashes)
    assert sorted(line["dataset"] for line in summary) == sorted(["=1+1", "007", "NA", "'=x"])
    assert format_table(summary).splitlines()[1].split()[-1] == "1.5"  # seconds


def test_a_folder_of_many_cells_is_looked_at_once(
    write_run: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It took half a minute to name 300 settings in a folder of 10,000 runs."""
    for seed in range(6):
        write_run(seed=seed, lr=0.1 * seed, cell_hash=f"cell{seed}")
    results = Results(tmp_path / "results")
    cells = {line["cell_hash"]: results for line in results.summary()}
    looks, read = [], Results.read_rows

    def counted(self: Results) -> object:
        looks.append(self)
        return read(self)

    monkeypatch.setattr(Results, "read_rows", counted)
    lines = summary_lines(cells)
    assert len(lines) == 6 and len(looks) == 1
    assert len(told_apart(lines, cells)) == 6 and len(looks) == 2
