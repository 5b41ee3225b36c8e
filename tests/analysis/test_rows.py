"""Merging folders: each trial once, and nothing dropped in silence."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from dqrun.analysis.rows import SHOWN_CONFLICTS, Run, config_of, load_runs
from dqrun.errors import DataError, ResultsError

WriteRun = Callable[..., Path]


def test_folders_are_merged_oldest_first(write_run: WriteRun, tmp_path: Path) -> None:
    write_run("a", seed=0, finished_utc="2026-01-02")
    write_run("b", seed=1, finished_utc="2026-01-01")
    runs, complaints = load_runs([tmp_path / "a", tmp_path / "b", tmp_path / "a" / ".." / "a"])
    assert [run.row["seed"] for run in runs] == [1, 0] and complaints == []


def test_equal_duplicates_count_once(write_run: WriteRun, tmp_path: Path) -> None:
    for place in ("a", "b"):
        for seed in range(3):
            write_run(place, seed=seed, seconds=1.0 if place == "a" else 2.0)
    runs, (complaint,) = load_runs([tmp_path / "a", tmp_path / "b"])
    assert len(runs) == 3
    assert (
        complaint
        == f"3 trials are more than once in {tmp_path / 'a'} and {tmp_path / 'b'}, without conflict: counted once"
    )


def test_conflicting_duplicates_do_not_count(write_run: WriteRun, tmp_path: Path) -> None:
    for i, place in enumerate(("a", "b")):
        for seed in range(SHOWN_CONFLICTS + 2):
            write_run(place, seed=seed, test_metric=0.5 + i / 10)
        write_run(place, seed=99)
    runs, complaints = load_runs([tmp_path / "a", tmp_path / "b"])
    assert [run.row["seed"] for run in runs] == [99]
    assert sum("conflicting results and does not count (test_metric 0.5 in" in text for text in complaints) == 5
    assert complaints[-1] == "2 more such conflicts"


def test_other_results_of_another_environment_are_replicates(write_run: WriteRun, tmp_path: Path) -> None:
    """Machines with different numbers of cores lose nothing when their folders are merged."""
    for place, threads, offset in (("a", 1, 0.0), ("b", 2, 0.1), ("c", 4, 0.1)):
        for seed in range(2):
            write_run(place, seed=seed, threads=threads, test_metric=0.5 + offset)
    runs, (complaint,) = load_runs([tmp_path / place for place in "abc"])
    assert sorted((run.row["seed"], run.row["threads"]) for run in runs) == [(0, 1), (0, 2), (1, 1), (1, 2)]
    assert "2 trials are more than once in" in complaint and "counted once" in complaint
    write_run("d", seed=0, threads=2, test_metric=0.9)
    runs, complaints = load_runs([tmp_path / place for place in "abcd"])
    assert sorted((run.row["seed"], run.row["threads"]) for run in runs) == [(0, 1), (0, 4), (1, 1), (1, 2)]
    assert sum("has conflicting results and does not count" in text for text in complaints) == 1


def test_a_trial_that_failed_elsewhere_counts_where_it_was_done(write_run: WriteRun, tmp_path: Path) -> None:
    write_run("a", status="failed", test_metric=None, reason="disk full")
    write_run("b")
    runs, (complaint,) = load_runs([tmp_path / "a", tmp_path / "b"])
    assert [run.done for run in runs] == [True] and "1 trial is more than once" in complaint


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"test_metric": "0.7"}, "test_metric must be a number or null, got '0.7'"),
        ({"status": "running"}, "status must be done or failed, got 'running'"),
        ({"seed": "0"}, "seed must be an integer, got '0'"),
        ({"model": None}, "model must be text, got None"),
    ],
)
def test_damaged_rows_are_named(write_run: WriteRun, tmp_path: Path, change: dict[str, object], reason: str) -> None:
    write_run(seed=1)
    path = write_run(seed=2) / "row.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    runs, (complaint,) = load_runs([tmp_path / "results"])
    assert len(runs) == 1 and complaint.startswith(f"{path} is damaged and was skipped ({reason}")


@pytest.mark.parametrize("content", ["{", "[]", "{}", None])
def test_unreadable_rows_are_named(write_run: WriteRun, tmp_path: Path, content: str | None) -> None:
    write_run(seed=1)
    path = write_run(seed=2) / "row.json"
    path.unlink() if content is None else path.write_text(content)
    runs, (complaint,) = load_runs([tmp_path / "results"])
    assert len(runs) == 1 and str(path) in complaint


def test_temporary_folders_are_left_alone(write_run: WriteRun, tmp_path: Path) -> None:
    write_run()
    (tmp_path / "results" / "runs" / ".half-written").mkdir()
    assert load_runs([tmp_path / "results"])[1] == []


def test_no_results(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match=r"it has no folder runs/ and no configs\.yaml of a study"):
        load_runs([tmp_path])
    (tmp_path / "runs").mkdir()
    with pytest.raises(ResultsError, match="no finished trials"):
        load_runs([tmp_path])


def test_fields_of_the_configuration(write_run: WriteRun, tmp_path: Path) -> None:
    write_run(lr=0.5)
    (run,) = load_runs([tmp_path / "results"])[0]
    assert run.value("train.lr") == 0.5 and run.has("train.lr")
    assert run.value("train.lr.x") is None and not run.has("train.lr.x") and not run.has("nothing")
    (run.folder / "config.yaml").write_text("{")
    (run,) = load_runs([tmp_path / "results"])[0]
    assert run.config is None and run.value("train.lr") is None


def test_unreadable_configurations(tmp_path: Path) -> None:
    run = Run({}, tmp_path)
    with pytest.raises(DataError, match=r"config\.yaml can't be read"):
        config_of(run)
    (tmp_path / "config.yaml").write_text("model: {nothing: 1}\n")
    with pytest.raises(DataError, match=r"does not fit this version of dqrun \(Key 'nothing' not in 'ModelConfig'\)$"):
        config_of(Run({}, tmp_path))


def test_trials_are_paired_by_seed_and_fold(make_run: Callable[..., Run]) -> None:
    assert [make_run(seed=3, fold=fold).key for fold in (None, 0, 2)] == [(3, -1), (3, 0), (3, 2)]
