"""Run folders, tables, and what happens when the disk misbehaves."""

import errno
import json
import math
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from dqrun.errors import ResultsError, TrialFailed
from dqrun.results import TRIAL_COLUMNS, Results, Row, ci95, summarise, write_row

ROW = Row(
    run_id="r0",
    dataset="threads",
    task="graph_classification",
    model="gin",
    quant="int4",
    weight_bits=4,
    activation_bits=4,
    method="dq",
    estimator="clipped",
    observer="percentile(0.01)-widen",
    p_min=0.1,
    p_max=0.2,
    plan="paper",
    protocol="seeds",
    seed=0,
    fold=None,
    epochs=10,
    best_epoch=7,
    metric="accuracy",
    higher_is_better=True,
    train_metric=0.9,
    val_metric=0.8,
    test_metric=0.7,
    status="done",
    reason="",
    seconds=1.5,
    seconds_per_epoch=0.1,
    peak_bytes=1000,
    parameters=123,
    device="cpu",
    threads=2,
    config_hash="aa",
    git_revision="",
    dqrun_version="0",
    torch_version="0",
    pyg_version="0",
    finished_utc="2026-01-01T00:00:00+00:00",
    cell_hash="c",
)
ISSUE_COLUMNS = (
    "run_id dataset task model quant weight_bits activation_bits method estimator observer p_min p_max plan protocol "
    "seed fold epochs best_epoch metric higher_is_better train_metric val_metric test_metric status reason seconds "
    "seconds_per_epoch peak_bytes parameters device threads config_hash git_revision dqrun_version torch_version "
    "pyg_version finished_utc"
)


def store(results: Results, row: Row) -> None:
    with results.writing(row.run_id) as folder:
        write_row(folder, row)


def test_columns_are_stable() -> None:
    assert TRIAL_COLUMNS == ISSUE_COLUMNS.split()


def test_tables_are_rebuilt_from_folders(tmp_path: Path) -> None:
    results = Results(tmp_path / "results")
    tests = [0.7, 0.8, 0.75]
    for seed, value in enumerate(tests):
        store(results, replace(ROW, run_id=f"r{seed}", seed=seed, test_metric=value))
    failed = replace(ROW, run_id="r9", seed=9, status="failed", reason="loss is nan", test_metric=None)
    store(results, failed)
    assert results.rebuild_tables() == []
    trials = pd.read_csv(results.root / "trials.csv")
    assert list(trials.columns) == TRIAL_COLUMNS and len(trials) == 4
    (cell,) = pd.read_csv(results.root / "summary.csv").to_dict("records")
    mean, std = sum(tests) / 3, pd.Series(tests).std()
    assert (cell["trials"], cell["failed"]) == (3, 1)
    assert cell["test_mean"] == pytest.approx(mean)
    assert cell["test_std"] == pytest.approx(std)
    assert cell["test_ci95"] == pytest.approx(4.302652729911275 * std / math.sqrt(3))  # t of 2 degrees of freedom
    assert sorted(path.name for path in results.root.iterdir()) == [
        ".tables.lock",
        "runs",
        "summary.csv",
        "trials.csv",
    ]


def test_one_trial_has_no_interval() -> None:
    assert math.isnan(ci95(pd.Series([0.5])))


def test_cells_differ_by_their_hash() -> None:
    rows = [ROW, replace(ROW, cell_hash="d", p_max=0.4)]
    assert len(summarise(pd.DataFrame([vars(row) for row in rows]))) == 2


def test_damaged_row_is_named_skipped_and_kept(tmp_path: Path) -> None:
    results = Results(tmp_path)
    store(results, ROW)
    for name, text in (("bad", '{"run_id": '), ("foreign", '{"a": 1}'), ("list", "[]")):
        (results.runs / name).mkdir()
        (results.runs / name / "row.json").write_text(text)
    complaints = results.rebuild_tables()
    assert len(complaints) == 3 and all("row.json is damaged and was skipped" in line for line in complaints)
    assert len(pd.read_csv(tmp_path / "trials.csv")) == 1
    assert results.row("bad") is None
    assert (results.runs / "bad" / "row.json").exists()


def test_an_interrupted_trial_leaves_nothing(tmp_path: Path) -> None:
    results = Results(tmp_path)
    with pytest.raises(KeyboardInterrupt), results.writing("r0") as folder:
        (folder / "history.csv").write_text("half")
        raise KeyboardInterrupt
    assert list(results.runs.iterdir()) == []


def test_a_full_disk_fails_the_trial_and_keeps_earlier_rows(tmp_path: Path) -> None:
    results = Results(tmp_path)
    store(results, ROW)
    with pytest.raises(TrialFailed, match="no space left"), results.writing("r1"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert [path.name for path in results.runs.iterdir()] == ["r0"]


def test_rerun_replaces_the_folder(tmp_path: Path) -> None:
    results = Results(tmp_path)
    store(results, ROW)
    store(results, replace(ROW, test_metric=0.1))
    assert [path.name for path in results.runs.iterdir()] == ["r0"]
    assert json.loads((results.runs / "r0" / "row.json").read_text())["test_metric"] == 0.1


def test_unwritable_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ResultsError, match=r"results\.dir must be a writable folder, got .*file"):
        Results(tmp_path / "file" / "results")
