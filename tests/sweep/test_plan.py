"""The plan: which trials, which are done, which go on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from dqrun.config import RunConfig
from dqrun.runs import protocol
from dqrun.runs.row import Row, write_row
from dqrun.runs.store import Results
from dqrun.sweep.plan import make_plan
from dqrun.sweep.run import run_all

Make = Callable[..., list[RunConfig]]


def test_a_new_sweep(make: Make) -> None:
    plan = make_plan(make("quant=fp32,int4", "method=naive,dq"))
    assert plan.describe() == "plan: 6 trials of 3 configurations, 6 to do"
    assert [planned.trial.seed for planned in plan.to_do] == [0, 1] * 3
    assert not any(planned.alone for planned in plan.to_do)
    assert make_plan(make("quant=int4")).to_do[0].alone


def test_trials_that_configurations_share_are_planned_once(make: Make) -> None:
    plan = make_plan(make("protocol.trials=2,3"))
    assert len(plan.to_do) == 3


def test_known_failed_and_begun_trials(make: Make, tmp_path: Path) -> None:
    run_all(make("quant=int4", "protocol.trials=1"), quiet=True)
    run_all(make("quant=fp32", "train.lr=1e30", "protocol.trials=1"), quiet=True)
    configs = make("quant=int4") + make("quant=fp32", "train.lr=1e30", "protocol.trials=1")
    results = Results(tmp_path / "results")
    plan = make_plan(configs)
    begun, failed = plan.to_do
    results.checkpoints.mkdir()
    results.checkpoint_path(begun.name).touch()
    assert make_plan(configs).describe() == (
        "plan: 3 trials of 2 configurations, 1 already done (rerun=true runs them again), 2 to do, "
        "1 of them from a checkpoint"
    )
    assert begun.superseded is None and failed.superseded is not None
    assert failed.finished(results) is None  # a failure of an earlier command is tried again
    assert plan.known[0].finished(results) is not None
    again = make_plan(make("quant=int4", "rerun=true"))
    assert len(again.to_do) == 2 and again.to_do[0].finished(results) is None


def test_trials_whose_hashes_begin_alike_are_two_trials(
    make: Make, row: Row, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = protocol._digest
    monkeypatch.setattr(protocol, "_digest", lambda tree: f"01234567{digest(tree)[8:]}")
    configs = make("train.lr=0.01,0.02", "protocol.trials=1")
    results = Results(tmp_path / "results")
    names = []
    for to_do in (2, 1):
        plan = make_plan(configs)
        assert len(plan.to_do) == to_do and len({planned.config_hash for planned in plan.to_do}) == to_do
        planned = plan.to_do[0]
        names.append(results.place(planned.name, planned.config_hash))
        with results.writing(names[-1]) as folder:
            write_row(folder, replace(row, run_id=names[-1], config_hash=planned.config_hash))
    plan = make_plan(configs)
    assert plan.to_do == [] and [planned.name for planned in plan.known] == [names[0], names[0]]
    assert len(set(names)) == 2 and len(results.read_rows()[0]) == 2
