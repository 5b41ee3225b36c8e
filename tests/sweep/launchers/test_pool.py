"""Handing out trials: slots, trials that others have, deaths and errors; workers are replaced by functions."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from dqrun.analysis.progress import Progress
from dqrun.composition.compose import load_configs
from dqrun.errors import ResultsError
from dqrun.runs.store import Results
from dqrun.sweep.launchers import pool
from dqrun.sweep.launchers.pool import Answer, Died, Job, attempt, drive, tail_of
from dqrun.sweep.plan import Plan, make_plan
from dqrun.sweep.worker import Finished

SMALL = [
    *("dataset.graphs=20", "model.hidden=8", "model.layers=2", "train.epochs=3", "train.batch_size=8"),
    *("protocol.trials=1", "threads=1"),
]

Result = Callable[[Job], Answer]


class Done:
    """A task that has ended."""

    def __init__(self, job: Job, result: Result) -> None:
        self._job, self._result = job, result

    def done(self) -> bool:
        return True

    def result(self) -> Answer:
        return self._result(self._job)


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return make_plan(load_configs([*SMALL, "protocol.trials=3", f"results.dir={tmp_path / 'r'}"]))


def answer(job: Job, status: str = "done") -> Answer:
    known = {"metric": "accuracy", "test_metric": 0.5, "val_metric": 0.5, "best_epoch": 1, "epochs": 2, "seconds": 1.0}
    row = {"run_id": job.planned.name, "status": status, "reason": "", "log": "", **known}
    return Answer(Finished(row, here=True), ["a note"], ["a complaint"])


def test_every_trial_is_handed_out_once_and_what_workers_say_is_said(
    plan: Plan, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs: list[Job] = []

    def submit(job: Job) -> Done:
        jobs.append(job)
        return Done(job, answer)

    progress = Progress()
    drive(plan, progress, submit, slots=2)
    assert [job.planned for job in jobs] == plan.to_do
    assert len({job.label for job in jobs}) == 3 and {job.parcel().folder for job in jobs} == {os.getcwd()}
    assert len(progress.rows) == 3
    said = capsys.readouterr().err
    assert said.count("a note") == 1 and said.count("dqrun: a complaint") == 1


def test_a_trial_of_another_sweep_is_asked_for_again(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "POLL", 0.0)
    asked: list[str] = []

    def result(job: Job) -> Answer:
        asked.append(job.planned.name)
        busy = job.planned == plan.to_do[0] and asked.count(job.planned.name) < 3
        return Answer(None, [], []) if busy else answer(job)

    progress = Progress(quiet=True)
    drive(plan, progress, lambda job: Done(job, result), slots=2)
    assert len(asked) == 5 and len(progress.rows) == 3


@pytest.mark.parametrize(
    ("error", "reason", "log"),
    [
        (Died("its process died", "exit code 3"), "its process died", "exit code 3"),
        (ValueError("bad\nvery bad"), "ValueError: bad", "very bad"),
    ],
)
def test_a_task_that_ends_badly_is_a_failed_trial(plan: Plan, error: Exception, reason: str, log: str) -> None:
    def result(job: Job) -> Answer:
        if job.planned == plan.to_do[1]:
            raise error
        return answer(job)

    progress = Progress(quiet=True)
    drive(plan, progress, lambda job: Done(job, result), slots=3)
    (failed,) = [row for row in progress.rows if row["status"] != "done"]
    assert (failed["run_id"], failed["reason"]) == (plan.to_do[1].name, reason)
    assert log in (Path(plan.to_do[1].root) / failed["log"]).read_text()


def test_an_error_of_the_whole_command_ends_it(plan: Plan) -> None:
    def result(job: Job) -> Answer:
        raise ResultsError("could not write")

    with pytest.raises(ResultsError):
        drive(plan, Progress(quiet=True), lambda job: Done(job, result), slots=1)


def test_an_attempt_happens_where_and_as_the_command_was_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DQRUN_DATA", "there")
    plan = make_plan(load_configs([*SMALL, "results.dir=relative"]))
    job = Job.of(plan.to_do[0])
    parcel = job.parcel()
    assert parcel.environment["DQRUN_DATA"] == "there"
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    pool._worker.cache_clear()
    said = attempt(parcel)
    assert said.finished is not None and said.finished.row["status"] == "done"
    assert "SYNTHETIC" in said.notes[0] and capsys.readouterr().err == ""
    assert Results(tmp_path / "relative").row(job.planned.name, job.planned.config_hash) is not None


def test_threads_are_filled_in_where_they_are_open(tmp_path: Path) -> None:
    words = [*SMALL[:-1], f"results.dir={tmp_path}"]
    for threads, expected in ((0, 4), (2, 2)):
        plan = make_plan(load_configs([*words, f"threads={threads}"])).with_threads(4)
        assert {planned.config.threads for planned in plan.to_do} == {expected}


def test_the_tail_of_a_log() -> None:
    assert tail_of("a\nb\nc", 2) == "b\nc" and tail_of(None) == ""
