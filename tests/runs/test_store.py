"""Run folders, tables, and what happens when the disk misbehaves."""

import errno
import json
import math
import os
import shutil
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from dqrun.errors import ResultsError, TrialFailed
from dqrun.runs import store as module
from dqrun.runs.row import HYPERPARAMETERS, TRIAL_COLUMNS, Row, write_row
from dqrun.runs.store import Results

ISSUE_COLUMNS = (
    "run_id dataset task model quant weight_bits activation_bits method estimator observer p_min p_max plan protocol "
    "seed fold epochs best_epoch metric higher_is_better train_metric val_metric test_metric status reason seconds "
    "seconds_per_epoch peak_bytes parameters device threads config_hash git_revision dqrun_version torch_version "
    "pyg_version finished_utc log"
)


def store(results: Results, row: Row) -> None:
    with results.writing(row.run_id) as folder:
        write_row(folder, row)


def test_columns_are_stable() -> None:
    younger = """
        test_metric_integer integer_agreement integer_agreement_float32 baseline accuracy balanced_accuracy f1_macro
        f1_micro roc_auc average_precision mae rmse r2 average_bits model_bytes bit_operations search_epochs
        search_seconds started_from processor kernels setup_seconds data_fingerprint
        processes cell_hash
    """
    *settings, last = HYPERPARAMETERS
    text = ["learned_scale", last, "tags", "notes"]
    assert [*ISSUE_COLUMNS.split(), *younger.split(), *settings, *text] == TRIAL_COLUMNS


def test_tables_are_rebuilt_from_folders(tmp_path: Path, row: Row) -> None:
    results = Results(tmp_path / "results")
    tests = [0.7, 0.8, 0.75]
    for seed, value in enumerate(tests):
        store(results, replace(row, run_id=f"r{seed}", seed=seed, test_metric=value))
    failed = replace(row, run_id="r9", seed=9, status="failed", reason="loss is nan", test_metric=None)
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
        "runs",
        "summary.csv",
        "trials.csv",
    ]


def test_tables_are_written_again_when_a_row_came_meanwhile(
    tmp_path: Path, row: Row, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a process that stood still between reading the rows and writing the tables."""
    results = Results(tmp_path)
    store(results, row)
    write = module._write_table

    def stand_still(*arguments: Any) -> None:
        if not (results.runs / "r1").exists():
            store(results, replace(row, run_id="r1"))
        write(*arguments)

    monkeypatch.setattr(module, "_write_table", stand_still)
    assert results.rebuild_tables() == []
    assert list(pd.read_csv(tmp_path / "trials.csv")["run_id"]) == ["r0", "r1"]
    assert list(pd.read_csv(tmp_path / "summary.csv")["trials"]) == [2]


def test_tables_survive_a_sweep_that_clears_up(tmp_path: Path, row: Row, monkeypatch: pytest.MonkeyPatch) -> None:
    results = Results(tmp_path)
    store(results, row)
    write = module._write_table
    calls = []

    def cleared(path: Path, *content: Any) -> None:
        calls.append(path.name)
        if len(calls) == 1:
            raise FileNotFoundError(2, "No such file")
        write(path, *content)

    monkeypatch.setattr(module, "_write_table", cleared)
    results.rebuild_tables()
    assert calls == ["trials.csv", "trials.csv", "summary.csv"]
    shutil.rmtree(tmp_path)
    with pytest.raises(ResultsError, match="could not write"):
        results.rebuild_tables()


def test_damaged_row_is_named_skipped_and_kept(tmp_path: Path, row: Row) -> None:
    results = Results(tmp_path)
    store(results, row)
    for name, text in (("bad", '{"run_id": '), ("foreign", '{"a": 1}'), ("list", "[]")):
        (results.runs / name).mkdir()
        (results.runs / name / "row.json").write_text(text)
    complaints = results.rebuild_tables()
    assert len(complaints) == 3 and all("row.json is damaged and was skipped" in line for line in complaints)
    assert len(pd.read_csv(tmp_path / "trials.csv")) == 1
    assert results.row("bad", "aa") is None
    assert (results.runs / "bad" / "row.json").exists()


def test_a_complaint_is_one_line_whatever_the_folder_is_called(tmp_path: Path) -> None:
    results = Results(tmp_path)
    (results.runs / "a\n\x1b[31mb").mkdir()
    (results.runs / "a\n\x1b[31mb" / "row.json").touch()
    (complaint,) = results.rebuild_tables()
    assert complaint.isprintable() and "a\\n\\x1b[31mb" in complaint


def test_an_interrupted_trial_leaves_nothing(tmp_path: Path) -> None:
    results = Results(tmp_path)
    with pytest.raises(KeyboardInterrupt), results.writing("r0") as folder:
        (folder / "history.csv").write_text("half")
        raise KeyboardInterrupt
    assert list(results.runs.iterdir()) == []


def test_a_full_disk_fails_the_trial_and_keeps_earlier_rows(tmp_path: Path, row: Row) -> None:
    results = Results(tmp_path)
    store(results, row)
    with pytest.raises(TrialFailed, match="no space left"), results.writing("r1"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert [path.name for path in results.runs.iterdir()] == ["r0"]


def test_rerun_replaces_the_folder(tmp_path: Path, row: Row) -> None:
    results = Results(tmp_path)
    store(results, row)
    store(results, replace(row, test_metric=0.1))
    assert [path.name for path in results.runs.iterdir()] == ["r0"]
    assert json.loads((results.runs / "r0" / "row.json").read_text())["test_metric"] == 0.1


def test_unwritable_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ResultsError, match=r"results\.dir must be a writable folder, got .*file"):
        Results(tmp_path / "file" / "results")


def test_leftovers_of_a_killed_process(tmp_path: Path, row: Row) -> None:
    results = Results(tmp_path)
    store(results, row)
    (results.runs / "r0").rename(results.runs / ".old-r0-abc")  # killed between two renames
    (results.runs / ".r0-xyz").mkdir()
    (results.runs / ".r01-xyz").mkdir()  # another trial's, not ours to remove
    (tmp_path / ".trials.123.part.csv").touch()
    (results.runs / ".gone-0123").mkdir()
    results.clear_leftovers("r0")
    results.clear_removed()
    assert sorted(path.name for path in results.runs.iterdir()) == [".r01-xyz", "r0"]
    assert results.row("r0", "aa") is not None and not (tmp_path / ".trials.123.part.csv").exists()


def test_an_old_folder_that_was_replaced_is_removed(tmp_path: Path, row: Row) -> None:
    results = Results(tmp_path)
    store(results, row)
    (results.runs / ".old-r0-abc").mkdir()  # killed after the second rename
    results.clear_leftovers("r0")
    assert [path.name for path in results.runs.iterdir()] == ["r0"] and results.row("r0", "aa") is not None


def test_a_failing_replacement_keeps_the_old_folder(tmp_path: Path, row: Row, monkeypatch: pytest.MonkeyPatch) -> None:
    results = Results(tmp_path)
    store(results, row)
    rename = Path.rename

    def fail_for_the_new(path: Path, target: Path) -> Path:
        if target.name == "r0" and not path.name.startswith(".old"):
            raise OSError(errno.EIO, "Input/output error")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fail_for_the_new)
    with pytest.raises(ResultsError, match="Input/output error"):
        store(results, replace(row, test_metric=0.1))
    assert [path.name for path in results.runs.iterdir()] == ["r0"]
    assert json.loads((results.runs / "r0" / "row.json").read_text())["test_metric"] == 0.7


def test_folders_and_files_follow_the_umask(tmp_path: Path, row: Row) -> None:
    before = os.umask(0o002)
    try:
        results = Results(tmp_path / "results")
        store(results, row)
        results.rebuild_tables()
    finally:
        os.umask(before)
    for path in (results.runs, *results.root.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o775 if path.is_dir() else 0o664), path


def test_rows_whose_hashes_begin_alike_are_both_kept(tmp_path: Path, row: Row) -> None:
    results = Results(tmp_path)
    rows = [replace(row, run_id="r-12345678", config_hash=f"12345678{rest}") for rest in ("00000000", "ffffffff")]
    for one in rows:
        assert results.row(one.run_id, one.config_hash) is None
        store(results, replace(one, run_id=results.place(one.run_id, one.config_hash)))
    assert sorted(path.name for path in results.runs.iterdir()) == ["r-12345678", "r-12345678ffffffff"]
    for one in rows:
        found = results.row(one.run_id, one.config_hash)
        assert found is not None and found["config_hash"] == one.config_hash
        assert results.place(one.run_id, one.config_hash) == found["run_id"]


def test_a_checkpoint_older_than_its_row_is_dropped(tmp_path: Path, row: Row) -> None:
    results = Results(tmp_path)
    results.checkpoints.mkdir()
    checkpoint = results.checkpoint_path("r0")
    checkpoint.touch()
    results.drop_old_checkpoint("r0")
    assert checkpoint.exists()
    store(results, row)
    results.drop_old_checkpoint("r0")
    assert not checkpoint.exists()
    checkpoint.touch()
    os.utime(checkpoint, (2**33, 2**33))  # of a retry, begun after the row
    results.drop_old_checkpoint("r0")
    assert checkpoint.exists()
