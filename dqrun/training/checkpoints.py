"""Training checkpoints: an interrupted trial continues with the bits of an uninterrupted one.

The state at the end of a training is a checkpoint too. `train.keep_state` keeps it in the run's folder. A trial of more
epochs can continue from it if only the last stage of its course is longer. No schedule and no random draw depends on
the number of epochs; early stopping does, but it never stops a longer training before a shorter one.
"""

from __future__ import annotations

import io
import pickle
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from dqrun.config import RunConfig
from dqrun.durable import clear_parts, replacing
from dqrun.errors import ConfigError
from dqrun.paths import user_path
from dqrun.runs.protocol import Trial
from dqrun.training.course import Course
from dqrun.training.snapshot import PARTS, put, snapshot
from dqrun.training.state import Training, Watcher

FORMAT = "dqrun-training-1"
STATE = "training.pt"
"""The state at the end of a training in its run's folder."""
KEPT = {"format", "identity", "epochs", "threads", "seconds", *PARTS}


@dataclass(frozen=True)
class Identity:
    """The values that must agree between the training that wrote a checkpoint and the one that continues from it."""

    config_hash: str
    dqrun_version: str
    torch_version: str
    pyg_version: str


class Checkpoints(Watcher):
    """Keeps the state of one training in `path`, as often as `config` says, and restores it from there.

    Checkpoints hold tensors, numbers and texts only, so that reading one runs no code. A file that is damaged or
    belongs to another trial or version is reported to `warn` once, and the training starts anew.

    `identity_of`: the identity of the trial under a configuration that may differ from `config` in its epochs.
    `confirm`: raises an error if another process has taken over the trial; called before and after each write.
    """

    def __init__(
        self,
        path: Path,
        config: RunConfig,
        identity_of: Callable[[RunConfig], Identity],
        warn: Callable[[str], None] = lambda text: None,
        confirm: Callable[[], None] = lambda: None,
    ) -> None:
        self.path, self._config, self._warn, self._confirm = path, config, warn, confirm
        self.minutes = config.train.checkpoint_minutes
        self.identity, self._identity_of = identity_of(config), identity_of
        self._started = self._written = time.perf_counter()
        self._failed = False

    def restore(self, training: Training) -> None:
        """Puts `training`, which has not begun, and torch's global generators into the kept state, if there is one.

        That is the checkpoint of this trial, else the final state of the training that `train.continue_from` names.
        Raises ConfigError if training cannot continue from the latter.
        """
        self._started = self._written = time.perf_counter()
        try:
            kept = _read(self.path)
            if kept["identity"] != vars(self.identity):
                raise _Refused("of another configuration or version")
            self._put(training, kept)
            return
        except FileNotFoundError:
            pass
        except _Refused as error:
            self._warn(f"its checkpoint is {error}: it starts anew")
        except _DAMAGES as error:
            self._warn(f"its checkpoint is damaged: it starts anew ({_short(error)})")
        if self._config.train.continue_from is not None:
            self._restore_end(training, self._config.train.continue_from)

    def _restore_end(self, training: Training, run: str) -> None:
        field = "train.continue_from"
        try:
            kept = _read(user_path(run) / STATE)
            earlier = [vars(self._identity_of(config)) for config in with_epochs(self._config, kept["epochs"])]
            if kept["identity"] not in earlier:
                raise ConfigError.rule(field, "name a run that differs in its epochs alone, of the same version", run)
            if kept["epochs"] >= (epochs := self._config.own_train.epochs):
                raise ConfigError.rule("train.epochs", f"be > the {kept['epochs']} epochs of {run}", epochs)
            self._require_extension(training, kept["epochs"])
            self._put(training, kept)
        except FileNotFoundError:
            raise ConfigError.rule(field, "name a run trained with train.keep_state=true", run) from None
        except (_Refused, *_DAMAGES) as error:
            raise ConfigError.rule(field, f"name a run whose {STATE} is whole ({_short(error)})", run) from None

    def _require_extension(self, training: Training, epochs: int) -> None:
        """Raises ConfigError unless the kept training is the beginning of this one: only the last stage is longer."""
        shorter = Course.of(training.method, replace(training.course.train, epochs=epochs))
        if not training.course.extends(shorter):
            stages = ", ".join(f"{stage.name} {stage.epochs}" for stage in shorter.stages)
            rule = f"be null for a method that lays out more epochs in another way than {stages}"
            raise ConfigError.rule("train.continue_from", rule, self._config.train.continue_from)

    def keep(self, training: Training) -> None:
        """Writes a checkpoint when the last one is old enough; a disk that is full costs the checkpoint only."""
        if not self.minutes or time.perf_counter() - self._written < 60 * self.minutes:
            return
        self._confirm()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(self.path) as part:
                torch.save(self._collect(training), part)
        except (OSError, RuntimeError) as error:  # torch reports some full disks as RuntimeError
            self._confirm()  # a process that takes over the trial removes the file that this one is writing
            if not self._failed:
                self._warn(f"no checkpoint could be written to {self.path} ({_short(error)})")
            self._failed = True
        self._written = time.perf_counter()
        self._confirm()

    def end(self, training: Training) -> None:
        """Keeps the state at the end of training in memory, if `train.keep_state` asks for it."""
        if self._config.train.keep_state:
            content = io.BytesIO()
            torch.save(self._collect(training), content)
            self.end_state = content.getvalue()

    def _collect(self, training: Training) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "identity": vars(self.identity),
            "epochs": self._config.own_train.epochs,
            "threads": torch.get_num_threads(),
            "seconds": self.earlier_seconds + time.perf_counter() - self._started,
            **snapshot(training),
        }

    def _put(self, training: Training, kept: dict[str, Any]) -> None:
        put(training, kept)
        self.earlier_seconds = kept["seconds"]
        if kept["threads"] != torch.get_num_threads():
            self._warn(
                f"it goes on with {torch.get_num_threads()} threads where it had {kept['threads']}: "
                "sums are rounded in another order"
            )


class _Refused(Exception):
    """A readable file that belongs to another training."""


_DAMAGES = (
    OSError,
    RuntimeError,
    EOFError,
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    ValueError,
    KeyError,
    TypeError,
)
"""Exceptions from reading a damaged checkpoint: from the file, from torch or from restoring the state."""


def _short(error: Exception) -> str:
    """The first line of an error, shortened for a message."""
    return str(error).strip().partition("\n")[0][:100]


def _read(path: Path) -> dict[str, Any]:
    """The saved state. Checks the archive's checksums first; `torch.load` does not."""
    with path.open("rb") as file:
        with zipfile.ZipFile(file) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise zipfile.BadZipFile(f"checksum of {damaged}")
        file.seek(0)
        kept = torch.load(file, map_location="cpu", weights_only=True)
    if not isinstance(kept, dict) or kept.get("format") != FORMAT or set(kept) != KEPT:
        raise _Refused("not of this program's format")
    return kept


def forget_checkpoint(path: Path) -> None:
    """Removes a checkpoint and temporary files of a killed process, once the trial's row is written."""
    path.unlink(missing_ok=True)
    if path.parent.is_dir():
        clear_parts(path)


def with_epochs(config: RunConfig, epochs: int) -> list[RunConfig]:
    """The configurations of the same training with `epochs` epochs: after a warm start there may be two of them."""
    shorter = replace(config, train=replace(config.train, epochs=epochs))
    if not config.starts_warm:
        return [shorter]
    tuned = [replace(config.train.fine_tune, epochs=stated) for stated in (epochs, None)]
    return [replace(config, train=replace(config.train, fine_tune=tune)) for tune in tuned]


def continuation(config: RunConfig, run: Path, epochs: int, trial: Trial) -> RunConfig:
    """The configuration of a trial with `epochs` epochs that continues from `run`, the run folder of a shorter `trial`.

    `config`: the configuration of the shorter trial.
    Its row is the same as that of a trial trained from the start with `epochs` epochs. `run_all` runs it.
    """
    longer = with_epochs(config, epochs)[0]
    train = replace(longer.train, keep_state=True, continue_from=str(run.absolute()))
    protocol = replace(longer.protocol, first_seed=trial.seed, trials=1, folds=None)
    if trial.fold is not None:
        protocol = replace(protocol, folds=[trial.fold])
    return replace(longer, train=train, protocol=protocol)
