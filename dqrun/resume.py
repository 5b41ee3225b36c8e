"""Training checkpoints: an interrupted trial goes on where it stopped and gives the bits it would have given."""

from __future__ import annotations

import os
import pickle
import time
import zipfile
from collections.abc import Callable
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import torch

from dqrun.training import Epoch, Training

FORMAT = "dqrun-training-1"
PARTS = {
    *("format", "identity", "threads", "seconds", "history", "best", "best_state"),
    *("model", "optimizer", "scheduler", "random", "torch_random", "cuda_random"),
}


@dataclass(frozen=True)
class Identity:
    """What must agree between the training that wrote a checkpoint and the one that goes on from it."""

    config_hash: str
    dqrun_version: str
    torch_version: str
    pyg_version: str


class Checkpoints:
    """Keeps the state of one training in `path`, at most every `minutes`, and restores it from there.

    Checkpoints hold tensors, numbers and texts only, so that reading one runs no code. A file that is damaged or
    belongs to another trial or version is reported to `warn` once, and the training starts anew.
    """

    def __init__(
        self,
        path: Path,
        minutes: float,
        identity: Identity,
        device: str = "cpu",
        warn: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.path, self.minutes, self.identity, self.device, self._warn = path, minutes, identity, device, warn
        self.earlier_seconds = 0.0
        """Time that the kept epochs took in the processes before this one."""
        self._started = self._written = time.perf_counter()
        self._failed = False

    def restore(self, training: Training) -> None:
        """Puts `training`, which has not begun, and torch's global generators into the kept state, if there is one."""
        self._started = self._written = time.perf_counter()
        try:
            kept = _read(self.path)
            self._check(kept)
            self._put(training, kept)
        except FileNotFoundError:
            return
        except _Refused as error:
            self._warn(f"its checkpoint is {error}: it starts anew")
        except (OSError, RuntimeError, EOFError, pickle.UnpicklingError, zipfile.BadZipFile, ValueError) as error:
            reason = str(error).strip().partition("\n")[0]
            self._warn(f"its checkpoint is damaged: it starts anew ({reason[:100]})")

    def keep(self, training: Training) -> None:
        """Writes a checkpoint when the last one is old enough; a disk that is full costs the checkpoint only."""
        if not self.minutes or time.perf_counter() - self._written < 60 * self.minutes:
            return
        try:
            _write_durably(self.path, self._collect(training))
        except (OSError, RuntimeError) as error:  # torch tells some full disks as RuntimeError
            if not self._failed:
                self._warn(f"no checkpoint could be written ({str(error).partition(chr(10))[0]})")
            self._failed = True
        self._written = time.perf_counter()

    def remove(self) -> None:
        """Forgets the training: its row is written."""
        _part(self.path).unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)

    def _collect(self, training: Training) -> dict[str, Any]:
        result, streams = training.result, training.streams
        return {
            "format": FORMAT,
            "identity": vars(self.identity),
            "threads": torch.get_num_threads(),
            "seconds": self.earlier_seconds + time.perf_counter() - self._started,
            "history": [list(astuple(epoch)) for epoch in result.history],
            "best": None if result.best is None else result.best.epoch,
            "best_state": result.state,
            "model": training.model.state_dict(),
            "optimizer": training.optimizer.state_dict(),
            "scheduler": None if training.scheduler is None else training.scheduler.state_dict(),
            "random": {name: generator.get_state() for name, generator in vars(streams).items()},
            "torch_random": torch.get_rng_state(),
            "cuda_random": torch.cuda.get_rng_state() if self.device == "cuda" else None,
        }

    def _check(self, kept: Any) -> None:
        if not isinstance(kept, dict) or kept.get("format") != FORMAT or set(kept) != PARTS:
            raise _Refused("not of this program's format")
        if kept["identity"] != vars(self.identity):
            raise _Refused("of another configuration or version")

    def _put(self, training: Training, kept: dict[str, Any]) -> None:
        """Everything is read before the training is changed, so that a damaged file changes nothing."""
        history = [Epoch(*values) for values in kept["history"]]
        best = next((epoch for epoch in history if epoch.epoch == kept["best"]), None)
        best_state = {name: value.to(self.device) for name, value in kept["best_state"].items()}
        training.model.load_state_dict(kept["model"])
        training.optimizer.load_state_dict(kept["optimizer"])
        if training.scheduler is not None:
            training.scheduler.load_state_dict(kept["scheduler"])
        for name, generator in vars(training.streams).items():
            generator.set_state(kept["random"][name])
        torch.set_rng_state(kept["torch_random"])
        if kept["cuda_random"] is not None:
            torch.cuda.set_rng_state(kept["cuda_random"])
        training.result.history, training.result.best, training.result.state = history, best, best_state
        self.earlier_seconds = kept["seconds"]
        if kept["threads"] != torch.get_num_threads():
            self._warn(
                f"it goes on with {torch.get_num_threads()} threads where it had {kept['threads']}: "
                "sums are rounded in another order"
            )


class _Refused(Exception):
    """A readable file that is not this training's."""


def _read(path: Path) -> Any:
    """What was kept; torch itself does not look at the checksums that it writes."""
    with path.open("rb") as file:
        with zipfile.ZipFile(file) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise zipfile.BadZipFile(f"checksum of {damaged}")
        file.seek(0)
        return torch.load(file, map_location="cpu", weights_only=True)


def _part(path: Path) -> Path:
    return path.with_name(f".{path.name}.part")


def _write_durably(path: Path, content: dict[str, Any]) -> None:
    """Replaces `path` at once: whenever the machine stops, the old or the new checkpoint is there, and complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = _part(path)
    try:
        with part.open("wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
