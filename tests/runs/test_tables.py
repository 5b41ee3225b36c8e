"""Rows of run folders as tables: what is read again, and what a line says."""

import math
import os
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from dqrun.runs import tables as module
from dqrun.runs.intervals import ci95
from dqrun.runs.row import Row, write_row
from dqrun.runs.store import Results
from dqrun.runs.tables import cell_line, summarise


@pytest.fixture
def results(tmp_path: Path) -> Results:
    return Results(tmp_path / "results")


def store(results: Results, row: Row) -> None:
    with results.writing(row.run_id) as folder:
        write_row(folder, row)


def test_a_file_is_read_once_until_it_changes(results: Results, row: Row, monkeypatch: pytest.MonkeyPatch) -> None:
    read, names = module.read_row, []

    def counted(path: Path) -> dict[str, Any]:
        names.append(path.parent.name)
        return read(path)

    monkeypatch.setattr(module, "read_row", counted)
    for seed in range(3):
        store(results, replace(row, run_id=f"r{seed}", seed=seed))
    assert results.rebuild_tables() == []
    assert Results(results.root).rebuild_tables() == [] and sorted(names) == ["r0", "r1", "r2"]
    store(results, replace(row, run_id="r1", seed=1, test_metric=0.123))
    assert results.rebuild_tables() == [] and names[3:] == ["r1"]
    assert 0.123 in list(pd.read_csv(results.root / "trials.csv")["test_metric"])
    found = results.row("r1", row.config_hash)
    assert found is not None and found["test_metric"] == 0.123 and names[4:] == []


def test_a_file_changed_in_place_is_read_again(results: Results, row: Row) -> None:
    store(results, row)
    assert results.row(row.run_id, row.config_hash) is not None
    path = results.runs / row.run_id / "row.json"
    text = path.read_text()
    path.write_text(text[:-9] + " " * 9)  # the same length
    os.utime(path, ns=(1, 1))
    assert results.row(row.run_id, row.config_hash) is None
    assert len(results.rebuild_tables()) == 1
    path.unlink()
    assert results.rebuild_tables() == [] and results.summary() == []


def test_a_cell_that_got_a_trial_has_a_new_line(results: Results, row: Row) -> None:
    store(results, replace(row, run_id="r0", test_metric=0.5))
    store(results, replace(row, run_id="r1", test_metric=0.25, cell_hash="other"))
    assert [line["test_mean"] for line in results.summary()] == [0.5, 0.25]
    store(results, replace(row, run_id="r2", test_metric=1.0, seed=2))
    assert {line["cell_hash"]: line["test_mean"] for line in results.summary()} == {row.cell_hash: 0.75, "other": 0.25}


def test_whole_numbers_have_no_point_beside_empty_cells(results: Results, row: Row) -> None:
    """pandas makes 8.0 of 8 in a column with an empty cell."""
    store(results, replace(row, run_id="r0", weight_bits=8, best_epoch=None))
    store(results, replace(row, run_id="r1", weight_bits=None, best_epoch=3, notes="a,b"))
    results.rebuild_tables()
    table = pd.read_csv(results.root / "trials.csv", dtype=str, keep_default_na=False)
    assert list(table["weight_bits"]) == ["8", ""] and list(table["best_epoch"]) == ["", "3"]
    assert list(table["notes"]) == ["", "a,b"] and set(table["higher_is_better"]) == {"True"}


def test_cells_differ_by_their_hash(row: Row) -> None:
    rows = [row, replace(row, cell_hash="d", p_max=0.4)]
    assert [line["cell_hash"] for line in summarise(map(vars, rows))] == [row.cell_hash, "d"]


def test_failed_trials_are_counted_and_enter_no_mean(row: Row) -> None:
    values = [0.5, 0.75, 1.0]
    rows = [vars(replace(row, seed=seed, test_metric=value, epochs=seed)) for seed, value in enumerate(values)]
    line = cell_line([*rows, vars(replace(row, status="failed", test_metric=None, seconds=1e9, epochs=99))])
    assert (line["trials"], line["failed"]) == (3, 1)
    assert line["test_mean"] == 0.75 and line["test_std"] == statistics.stdev(values)
    assert line["test_ci95"] == pytest.approx(4.302652729911275 * 0.25 / math.sqrt(3))  # t of 2 degrees of freedom
    assert (line["epochs_min"], line["epochs_max"], line["seconds_mean"]) == (0, 2, row.seconds)
    alone = cell_line([vars(replace(row, status="failed", test_metric=None))])
    assert math.isnan(alone["test_mean"]) and alone["epochs_min"] is None


def test_one_value_has_no_interval() -> None:
    assert math.isnan(ci95([0.5])) and math.isnan(ci95([]))
