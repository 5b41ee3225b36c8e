"""Workers: one trial at a time, behind its lock, whatever happens to it."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from dqrun.analysis.progress import Progress
from dqrun.config import RunConfig
from dqrun.errors import DataError, ResultsError
from dqrun.runs import outcome
from dqrun.runs import store as results_module
from dqrun.runs.store import Results
from dqrun.sweep import owner
from dqrun.sweep import worker as module
from dqrun.sweep.locks import LockFile
from dqrun.sweep.owner import Owner
from dqrun.sweep.plan import PlannedTrial, make_plan
from dqrun.sweep.tidying import tidy
from dqrun.sweep.worker import Worker

Make = Callable[..., list[RunConfig]]


@pytest.fixture
def planned(make: Make) -> PlannedTrial:
    return make_plan(make("quant=int4,int8")).to_do[0]


@pytest.fixture
def results(planned: PlannedTrial) -> Results:
    return Results(planned.root)


@pytest.fixture
def worker() -> Worker:
    return Worker(Progress(quiet=True))


def files(results: Results) -> list[str]:
    return sorted(path.relative_to(results.root).as_posix() for path in results.root.rglob("*") if path.is_file())


def test_a_trial_is_run_once_and_leaves_nothing_but_its_folder(
    worker: Worker, planned: PlannedTrial, results: Results
) -> None:
    first, second = worker.attempt(planned), worker.attempt(planned)
    assert first is not None and first.here and first.row["status"] == "done"
    assert second is not None and not second.here and second.row == first.row
    tidy(results)
    folder = f"runs/{planned.name}"
    assert files(results) == [
        *(f"{folder}/config.yaml", f"{folder}/history.csv", f"{folder}/model.safetensors"),
        *(f"{folder}/row.json", "summary.csv", "trials.csv"),
    ]
    assert sorted(path.name for path in results.root.iterdir() if path.is_dir()) == ["runs"]


def test_a_trial_of_another_process_is_left_to_it(worker: Worker, planned: PlannedTrial, results: Results) -> None:
    other = LockFile(results.lock_path(planned.name))
    other.acquire()
    assert worker.attempt(planned) is None
    other.release()
    assert worker.attempt(planned) is not None


def test_a_stolen_lock_stops_the_trial_and_records_nothing(
    worker: Worker, planned: PlannedTrial, results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = module.run_trial

    def slow(*arguments: object, **named: object) -> object:
        outcome = run(*arguments, **named)  # type: ignore[arg-type]
        results.lock_path(planned.name).write_text(Owner.new().to_json())
        return outcome

    monkeypatch.setattr(module, "run_trial", slow)
    assert worker.attempt(planned) is None
    assert results.row(planned.name, planned.config_hash) is None


def taken_over(results: Results, planned: PlannedTrial) -> None:
    """What another process does when this one stands still: it runs the trial from its beginning to its end."""
    path = results.lock_path(planned.name)
    os.utime(path, (1.0, 1.0))
    finished = Worker(Progress(quiet=True)).attempt(planned)
    assert finished is not None and finished.here and not path.exists()


MOMENTS = {
    "an epoch": (module.Heartbeat, "check"),
    "a checkpoint": (torch, "save"),
    "the folder is written": (Results, "writing"),
    "the row is written": (outcome, "write_row"),
    "the folder gets its name": (results_module, "_replace_folder"),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_process_that_stood_still_lets_go_of_its_trial_and_leaves_nothing(
    moment: str, worker: Worker, planned: PlannedTrial, results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process takes the trial over, and ends it, just before this one goes on at some moment."""
    place, name = MOMENTS[moment]
    go_on, stood = getattr(place, name), []

    def stand_still(*arguments: Any, **named: Any) -> Any:
        if not stood:
            stood.append(moment)
            taken_over(results, planned)
        return go_on(*arguments, **named)

    monkeypatch.setattr(place, name, stand_still)
    assert worker.attempt(planned) is None and stood
    row = planned.finished(results)
    assert row is not None and row["status"] == "done"
    assert worker.attempt(planned) == module.Finished(row, here=False), "the row is the other's"
    tidy(results)
    assert files(results) == sorted(
        ["summary.csv", "trials.csv"]
        + [f"runs/{planned.name}/{file}" for file in ("config.yaml", "history.csv", "model.safetensors", "row.json")]
    )


def test_a_folder_in_the_place_of_a_lock_costs_its_trial_alone(
    worker: Worker, planned: PlannedTrial, results: Results
) -> None:
    path = results.lock_path(planned.name)
    path.mkdir(parents=True)
    finished = worker.attempt(planned)
    assert finished is not None and finished.row["status"] == "failed"
    assert finished.row["reason"] == f"{path} is no lock but a folder or device: remove it"
    assert worker.record_death(planned, "died", "", "task").row["status"] == "failed"  # type: ignore[union-attr]
    assert tidy(results) == [finished.row["reason"]] and files(results) == []
    path.rmdir()
    finished = worker.attempt(planned)
    assert finished is not None and finished.row["status"] == "done"


def test_any_error_is_a_failure_with_a_log(
    worker: Worker, planned: PlannedTrial, results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("first line\nsecond line")

    monkeypatch.setattr(module, "run_trial", broken)
    finished = worker.attempt(planned)
    assert finished is not None
    row = finished.row
    assert (row["status"], row["reason"]) == ("failed", "RuntimeError: first line")
    log = (results.root / row["log"]).read_text()
    assert "Traceback" in log and "second line" in log
    assert results.row(planned.name, planned.config_hash) is not None
    assert worker.attempt(planned) is not None, "this sweep does not try it again"


def test_data_that_cannot_be_read_fail_their_trials_of_a_sweep_only(
    worker: Worker, planned: PlannedTrial, results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreadable(*_: object) -> None:
        raise DataError("raw file x.zip is truncated")

    monkeypatch.setattr(module, "load_dataset", unreadable)
    with pytest.raises(DataError):
        worker.attempt(replace(planned, alone=True))
    assert files(results) == []
    finished = worker.attempt(planned)
    assert finished is not None and finished.row["reason"] == "raw file x.zip is truncated"


def test_a_trial_goes_on_where_a_killed_worker_stopped(
    worker: Worker, planned: PlannedTrial, results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    seen: list[int] = []

    def die(epoch: object) -> None:
        seen.append(epoch.epoch)  # type: ignore[attr-defined]
        if seen == [1, 2]:
            raise Killed

    monkeypatch.setattr(Progress, "trial", lambda *_: nullcontext(die))
    with pytest.raises(Killed):
        worker.attempt(planned)
    assert results.checkpoint_path(planned.name).exists()
    assert worker.attempt(planned) is not None
    assert seen == [1, 2, 2, 3]
    assert not results.checkpoint_path(planned.name).exists()


def test_the_death_of_a_task(worker: Worker, planned: PlannedTrial, results: Results) -> None:
    remote = replace(Owner.new("task 7"), machine="elsewhere")
    results.locks.mkdir()
    results.lock_path(planned.name).write_text(remote.to_json())
    assert worker.record_death(planned, "its process died", "exit code 3", "task 8") is None
    finished = worker.record_death(planned, "its process died", "exit code 3", "task 7")
    assert finished is not None and finished.row["reason"] == "its process died"
    assert (results.root / finished.row["log"]).read_text() == "exit code 3\n"
    assert worker.record_death(planned, "again", "", "task 7").row["reason"] == "its process died"  # type: ignore[union-attr]


def test_tidying_clears_what_the_dead_left_and_spares_the_living(planned: PlannedTrial, results: Results) -> None:
    dead = replace(Owner.new(), pid=2**22 + 1, started="")
    results.locks.mkdir()
    results.lock_path(planned.name).write_text(dead.to_json())
    results.lock_path("other").write_text(Owner.new().to_json())
    (results.runs / f".{planned.name}-abc").mkdir()
    (results.runs / ".other-abc").mkdir()
    tidy(results)
    assert os.listdir(results.locks) == ["other.lock"]
    assert os.listdir(results.runs) == [".other-abc"]


@pytest.mark.parametrize("name", ["listdir", "scandir", "rename", "unlink", "link", "utime"])
def test_tidying_that_the_file_system_refuses_is_left_to_the_next_command(
    name: str, planned: PlannedTrial, results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **named: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    results.locks.mkdir()
    dead = replace(Owner.new(), pid=2**22 + 1, started="")
    results.lock_path(planned.name).write_text(dead.to_json())
    (results.runs / f".{planned.name}-0123abcd").mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(os, name, refuse)
        assert tidy(results) == []
    monkeypatch.setattr(owner, "_lives", lambda pid, started: False)  # the next command: this one has ended
    tidy(results)
    assert os.listdir(results.runs) == [] and not results.lock_path(planned.name).exists()


def test_a_disk_too_full_for_a_lock_ends_the_sweep_in_one_line(
    worker: Worker, planned: PlannedTrial, results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = LockFile(results.lock_path("other"))
    lock.acquire()

    def full(*_: object, **named: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(ResultsError, match=r"could not write .*\.lock: No space left on device"):
        worker.attempt(planned)
    lock.release()
    tidy(results)
    assert os.listdir(results.locks) == ["other.lock"], "it stays until this process ends"
