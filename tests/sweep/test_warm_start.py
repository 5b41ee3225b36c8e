"""Warm starts: the FP32 trial is an ordinary one, run once, and whatever happens to it is told."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from dqrun.analysis.progress import Progress
from dqrun.config import RunConfig
from dqrun.runs.model_file import load_model
from dqrun.runs.store import MODEL, Results
from dqrun.sweep import worker as module
from dqrun.sweep.locks import LockFile
from dqrun.sweep.plan import make_plan
from dqrun.sweep.run import run_all
from dqrun.sweep.worker import Worker

Make = Callable[..., list[RunConfig]]
WARM = ("quant=int4", "train.warm_start=fp32", "protocol.trials=1")


@pytest.fixture
def results(tmp_path: Path) -> Results:
    return Results(tmp_path / "results")


def rows(results: Results) -> list[dict[str, object]]:
    return results.read_rows()[0]


def test_the_plan_has_each_fp32_trial_once_and_first(make: Make) -> None:
    plan = make_plan(make("quant=int4,int8", "method=naive,dq", "train.warm_start=fp32"))
    assert [planned.config.quant.label for planned in plan.to_do] == ["fp32"] * 2 + ["int4"] * 4 + ["int8"] * 4
    assert [planned.start for planned in plan.to_do] == [None] * 2 + plan.to_do[:2] * 4
    assert make_plan(make("quant=fp32,int4", "train.warm_start=fp32")).describe() == (
        "plan: 4 trials of 2 configurations, 4 to do"
    )


def test_a_quantised_trial_begins_with_the_parameters_of_its_fp32_trial(make: Make, results: Results) -> None:
    assert run_all(make(*WARM, "train.fine_tune={lr: 1e-20, epochs: 1}", "train.lr=0.01"), quiet=True) == 0
    first, second = rows(results)
    assert (first["quant"], first["epochs"], first["started_from"]) == ("fp32", 3, "")
    assert (second["quant"], second["epochs"], second["started_from"]) == ("int4", 1, first["run_id"])
    plain, quantised = (load_model(results.runs / str(row["run_id"]) / MODEL)[0].state_dict() for row in rows(results))
    for name, value in plain.items():
        if "running" not in name and "num_batches" not in name:
            torch.testing.assert_close(quantised[name], value, msg=name)
    assert list(pd.read_csv(results.root / "trials.csv")["started_from"].fillna("")) == ["", first["run_id"]]


def test_an_fp32_trial_that_is_there_is_used(make: Make, results: Results) -> None:
    run_all(make("quant=fp32", "protocol.trials=1"), quiet=True)
    (before,) = rows(results)
    run_all(make(*WARM), quiet=True)
    assert rows(results)[0]["finished_utc"] == before["finished_utc"]
    assert make_plan(make(*WARM)).to_do == []


def test_an_fp32_trial_without_its_network_is_run_again(make: Make, results: Results) -> None:
    run_all(make("quant=fp32", "protocol.trials=1"), quiet=True)
    (before,) = rows(results)
    (results.runs / str(before["run_id"]) / MODEL).unlink()
    run_all(make(*WARM), quiet=True)
    first, second = rows(results)
    assert first["run_id"] == before["run_id"] and first["finished_utc"] != before["finished_utc"]
    assert first["test_metric"] == before["test_metric"] and second["status"] == "done"


def test_a_row_needs_no_start_any_more(make: Make, results: Results) -> None:
    run_all(make(*WARM), quiet=True)
    shutil.rmtree(results.runs / str(rows(results)[0]["run_id"]))
    (planned,) = make_plan(make(*WARM)).known
    finished = Worker(Progress(quiet=True)).attempt(planned)
    assert finished is not None and not finished.here


def test_a_start_that_another_process_trains_is_waited_for(make: Make, results: Results) -> None:
    start, planned = make_plan(make(*WARM)).to_do
    worker = Worker(Progress(quiet=True))
    other = LockFile(results.lock_path(start.name))
    other.acquire()
    assert worker.attempt(planned) is None
    assert rows(results) == [] and not results.lock_path(planned.name).exists()
    other.release()
    assert worker.attempt(planned) is not None, "it trains what the other process left"
    assert [row["quant"] for row in rows(results)] == ["fp32", "int4"]


def test_a_failed_start_fails_what_depends_on_it(
    make: Make, results: Results, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (*WARM, "train.lr=1e30", "train.fine_tune.lr=0.01")
    assert run_all(make(*words), quiet=True) == 1
    first, second = rows(results)
    assert (first["status"], second["status"]) == ("failed", "failed")
    assert second["reason"] == f"its FP32 trial {first['run_id']} failed: {first['reason']}"
    assert "its FP32 trial" in capsys.readouterr().err
    assert len(make_plan(make(*words)).to_do) == 2, "both are tried again by the next command"


def test_a_network_of_another_shape_fails_the_trial_in_one_line(make: Make, results: Results) -> None:
    configs = make(*WARM)
    run_all(make("quant=fp32", "protocol.trials=1"), quiet=True)
    run_all(make("quant=fp32", "protocol.trials=1", "model.hidden=4"), quiet=True)
    small = next(row for row in rows(results) if row["parameters"] == min(int(r["parameters"]) for r in rows(results)))  # type: ignore[call-overload]
    start = make_plan(configs).known[0]
    shutil.copy(results.runs / str(small["run_id"]) / MODEL, results.runs / start.name / MODEL)
    assert run_all([*configs, *make("quant=int8", "protocol.trials=1")], quiet=True) == 1
    (failed,) = [row for row in rows(results) if row["status"] == "failed"]
    assert "holds another network" in str(failed["reason"]) and "\n" not in str(failed["reason"])


@pytest.mark.parametrize("number", [2, 5])
def test_killed_and_started_again_it_gives_the_same_row(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Killed in epoch 2 of the FP32 trial, or of the quantised one."""
    configs = make(*WARM, "method=dq", "method.learned_scale=true", "method.delay_epochs=1")
    elsewhere = [replace(c, results=replace(c.results, dir=str(tmp_path / "whole"))) for c in configs]
    run_all(elsewhere, quiet=True)

    class Killed(BaseException):
        pass

    seen: list[int] = []

    def die(epoch: object) -> None:
        seen.append(epoch.epoch)  # type: ignore[attr-defined]
        if len(seen) == number:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Progress, "trial", lambda *_: nullcontext(die))
        with pytest.raises(Killed):
            run_all(configs, quiet=True)
    assert run_all(configs, quiet=True) == 0
    timing = {"seconds", "setup_seconds", "seconds_per_epoch", "peak_bytes", "finished_utc"}
    whole, resumed = (
        [{k: v for k, v in row.items() if k not in timing} for row in rows(Results(folder))]
        for folder in (tmp_path / "whole", configs[0].results.dir)
    )
    assert whole == resumed and len(whole) == 2


def test_a_start_that_cannot_be_recorded_is_no_endless_wait(
    make: Make, results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk leaves no row behind: what depends on it fails too, instead of waiting for the row."""
    record = module.record

    def full(outcome: object, config: RunConfig, folder: Results, confirm: Callable[[], None]) -> None:
        if config.quant.is_fp32:
            raise module.TrialFailed("no space left")
        record(outcome, config, folder, confirm)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "record", full)
    assert run_all(make(*WARM), quiet=True) == 1
    (row,) = rows(results)
    assert row["quant"] == "int4" and "no space left" in str(row["reason"])
