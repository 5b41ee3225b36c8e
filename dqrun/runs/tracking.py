"""`track=tensorboard|mlflow|wandb`: curves and results in a tracking tool beside the CSV files, which remain the
record.

A tool that fails (no network, no login) is reported once per trial and has no other effect on the trial.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from dqrun.config import RunConfig
from dqrun.extras import require
from dqrun.paths import user_path
from dqrun.runs.row import Row

if TYPE_CHECKING:  # imports torch: a command whose trials have their rows needs none
    from dqrun.training.state import Epoch

CURVES = ("train_loss", "val_loss", "val_metric", "lr", "seconds")
OUTCOMES = ("train_metric", "val_metric", "test_metric", "best_epoch", "seconds")


class Tool(Protocol):
    """The interface of a tracking tool, for one trial."""

    def log(self, values: Mapping[str, float], step: int) -> None: ...

    def finish(self, outcome: Mapping[str, float], status: str) -> None: ...


class Tracker:
    """Passes a trial's epochs and row to a tool (None: to no tool)."""

    def __init__(self, open_tool: Callable[[], Tool] | None, warn: Callable[[str], None]) -> None:
        self._warn = warn
        self._tool: Tool | None = None
        if open_tool is not None:
            self._tool = self._guarded(open_tool)

    def epoch(self, epoch: Epoch) -> None:
        """One point of each curve."""
        if (tool := self._tool) is not None:
            self._guarded(lambda: tool.log({name: getattr(epoch, name) for name in CURVES}, epoch.epoch))

    def row(self, row: Row) -> None:
        """The end of the trial."""
        values = {name: float(value) for name in OUTCOMES if (value := getattr(row, name)) is not None}
        self.close(values, row.status)

    def close(self, outcome: Mapping[str, float], status: str) -> None:
        """Ends the tool's run, once."""
        if (tool := self._tool) is not None:
            self._guarded(lambda: tool.finish(outcome, status))
            self._tool = None

    def _guarded(self, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except Exception as error:  # whatever a tool raises, the trial goes on
            self._tool = None
            reason = str(error).strip().partition("\n")[0]
            self._warn(f"tracking stopped for this trial: {type(error).__name__}: {reason}")
            return None


@contextmanager
def tracked(config: RunConfig, name: str, warn: Callable[[str], None]) -> Iterator[Tracker]:
    """The tracker of a trial with the given run_id; an interrupted trial is marked as such."""
    kind = TOOLS.get(config.track)
    tracker = Tracker(None if kind is None else lambda: kind(config, name), warn)
    try:
        yield tracker
    finally:
        tracker.close({}, "interrupted")


def require_tool(config: RunConfig) -> None:
    """Raises ConfigError where the tool that `track` names is not installed."""
    if config.track in _MODULES:
        for module in _MODULES[config.track]:
            require(module, config.track, f"track={config.track}")


def settings(config: RunConfig) -> dict[str, Any]:
    """Every field of the configuration by its dotted name."""
    return dict(_flat(asdict(config), ""))


def _flat(tree: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _folder(config: RunConfig, *parts: str) -> Path:
    path = user_path(config.results.dir).absolute().joinpath("tracking", *parts)
    path.mkdir(parents=True, exist_ok=True)
    return path


class TensorBoard:
    """Event files in `results.dir/tracking/tensorboard/RUN_ID`."""

    def __init__(self, config: RunConfig, name: str) -> None:
        from torch.utils.tensorboard import SummaryWriter  # type: ignore[attr-defined, unused-ignore]

        self._writer: Any = SummaryWriter(str(_folder(config, "tensorboard", name)))
        self._writer.add_text("config", "\n".join(f"    {key}: {value}" for key, value in settings(config).items()))

    def log(self, values: Mapping[str, float], step: int) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def finish(self, outcome: Mapping[str, float], status: str) -> None:
        for name, value in outcome.items():
            self._writer.add_scalar(f"result/{name}", value, 0)
        self._writer.close()


class MLflow:
    """A run of the experiment `dqrun`: on MLFLOW_TRACKING_URI, else in `results.dir/tracking/mlflow.db`."""

    def __init__(self, config: RunConfig, name: str) -> None:
        tracking: Any = require("mlflow.tracking", "mlflow", "track=mlflow")
        folder = _folder(config)
        uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{folder / 'mlflow.db'}"
        self._client: Any = tracking.MlflowClient(tracking_uri=uri)
        known = self._client.get_experiment_by_name("dqrun")
        experiment = known.experiment_id if known else self._client.create_experiment("dqrun", str(folder / "mlflow"))
        self._run: str = self._client.create_run(experiment, run_name=name).info.run_id
        self._entities: Any = require("mlflow.entities", "mlflow", "track=mlflow")
        self._client.log_batch(
            self._run,
            params=[
                self._entities.Param(re.sub(r"[^\w./ -]", "_", key), str(value))
                for key, value in settings(config).items()
            ],
        )

    def log(self, values: Mapping[str, float], step: int) -> None:
        now = int(1000 * time.time())
        points = [self._entities.Metric(name, value, now, step) for name, value in values.items()]
        self._client.log_batch(self._run, metrics=points)

    def finish(self, outcome: Mapping[str, float], status: str) -> None:
        self.log({f"result_{name}": value for name, value in outcome.items()}, 0)
        self._client.set_terminated(self._run, {"done": "FINISHED", "failed": "FAILED"}.get(status, "KILLED"))


class WandB:
    """A run of the project `dqrun` (WANDB_PROJECT); local files in `results.dir/tracking`. WANDB_MODE=offline works."""

    def __init__(self, config: RunConfig, name: str) -> None:
        wandb: Any = require("wandb", "wandb", "track=wandb")
        self._run: Any = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "dqrun"),
            name=name,
            dir=str(_folder(config)),
            config=settings(config),
            reinit="create_new",
            settings=wandb.Settings(silent=True),
        )

    def log(self, values: Mapping[str, float], step: int) -> None:
        self._run.log(dict(values), step=step)

    def finish(self, outcome: Mapping[str, float], status: str) -> None:
        self._run.summary.update(dict(outcome))
        self._run.finish(exit_code=0 if status == "done" else 1)


TOOLS: dict[str, Callable[[RunConfig, str], Tool]] = {"tensorboard": TensorBoard, "mlflow": MLflow, "wandb": WandB}
_MODULES = {"tensorboard": ("tensorboard",), "mlflow": ("mlflow", "sqlalchemy", "alembic"), "wandb": ("wandb",)}
