"""Tracking tools get curves and results, and never cost a trial anything."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from dqrun.composition.compose import load_configs
from dqrun.config import RunConfig
from dqrun.errors import ConfigError
from dqrun.runs import tracking
from dqrun.runs.row import Row
from dqrun.runs.tracking import CURVES, require_tool, settings, tracked
from dqrun.training.state import Epoch

EPOCHS = [Epoch(1, 0.9, 0.8, 0.5, 0.01, 1.0), Epoch(2, 0.7, 0.6, 0.75, 0.01, 1.0)]


def config_of(tmp_path: Path, tool: str) -> RunConfig:
    (config,) = load_configs([f"track={tool}", f"results.dir={tmp_path}", "+plan.rules={head.*: {bits: 8}}"])
    return config


def track(config: RunConfig, row: Row) -> list[str]:
    """Tracks a trial of two epochs; returns what was said."""
    said: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tools' own
        with tracked(config, row.run_id, said.append) as tracker:
            for epoch in EPOCHS:
                tracker.epoch(epoch)
            tracker.row(row)
    return said


class Recorder:
    """A tool that keeps what it gets."""

    def __init__(self, config: RunConfig, name: str) -> None:
        self.calls: list[tuple[Any, ...]] = []
        made.append(self)

    def log(self, values: Mapping[str, float], step: int) -> None:
        self.calls.append((step, dict(values)))

    def finish(self, outcome: Mapping[str, float], status: str) -> None:
        self.calls.append((status, dict(outcome)))


made: list[Recorder] = []


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> list[Recorder]:
    made.clear()
    monkeypatch.setitem(tracking.TOOLS, "tensorboard", Recorder)
    return made


def test_a_tool_gets_every_epoch_and_the_row(recorder: list[Recorder], tmp_path: Path, row: Row) -> None:
    assert track(config_of(tmp_path, "tensorboard"), row) == []
    (first, second, end) = recorder[0].calls
    assert (first[0], second[0]) == (1, 2) and set(first[1]) == set(CURVES)
    assert end == (
        "done",
        {"train_metric": 0.9, "val_metric": 0.8, "test_metric": 0.7, "best_epoch": 7, "seconds": 1.5},
    )


def test_an_interrupted_trial_is_marked(recorder: list[Recorder], tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), tracked(config_of(tmp_path, "tensorboard"), "r0", print):
        raise KeyboardInterrupt
    assert recorder[0].calls == [("interrupted", {})]


def test_nothing_is_tracked_unless_asked_for(recorder: list[Recorder], tmp_path: Path, row: Row) -> None:
    assert track(config_of(tmp_path, "none"), row) == [] and recorder == []
    assert list(tmp_path.iterdir()) == []


def test_a_tool_that_fails_is_told_once_and_costs_nothing(
    recorder: list[Recorder], tmp_path: Path, row: Row, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError("no network\nand more")

    monkeypatch.setattr(Recorder, "log", fail)
    assert track(config_of(tmp_path, "tensorboard"), row) == ["tracking stopped for this trial: OSError: no network"]


def test_settings_are_flat(tmp_path: Path) -> None:
    found = settings(config_of(tmp_path, "none"))
    assert found["train.schedule.name"] == "step" and found["plan.rules.head.*.bits"] == 8


@pytest.mark.parametrize("tool", ["tensorboard", "mlflow", "wandb"])
def test_a_missing_extra_is_one_line(tool: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, tool, None)
    with pytest.raises(ConfigError, match=rf"track={tool} needs the extra \[{tool}\]: pip install 'dqrun\[{tool}\]'"):
        require_tool(config_of(tmp_path, tool))


def test_tensorboard(tmp_path: Path, row: Row) -> None:
    pytest.importorskip("tensorboard", reason="needs the extra [tensorboard]", exc_type=ImportError)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert track(config_of(tmp_path, "tensorboard"), row) == []
    events = EventAccumulator(str(tmp_path / "tracking" / "tensorboard" / "r0"))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("val_metric")] == [(1, 0.5), (2, 0.75)]
    assert events.Scalars("result/test_metric")[0].value == pytest.approx(0.7)


def test_mlflow(tmp_path: Path, row: Row, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("mlflow", "sqlalchemy", "alembic"):
        pytest.importorskip(module, reason="needs the extra [mlflow]")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    config = config_of(tmp_path, "mlflow")
    assert track(config, row) == []
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'tracking' / 'mlflow.db'}")
    (run,) = client.search_runs([client.get_experiment_by_name("dqrun").experiment_id])
    assert run.info.status == "FINISHED" and run.data.params["quant.bits"] == "8"
    assert [point.value for point in client.get_metric_history(run.info.run_id, "val_metric")] == [0.5, 0.75]
    assert run.data.metrics["result_test_metric"] == 0.7


def test_wandb(tmp_path: Path, row: Row, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb", reason="needs the extra [wandb]")
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert track(config_of(tmp_path, "wandb"), row) == []
    assert list((tmp_path / "tracking" / "wandb").glob("offline-run-*/*.wandb"))
