"""`Worker`: runs planned trials one after the other, each under its lock; used by all launchers."""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dqrun.analysis.progress import Progress
from dqrun.config import RunConfig
from dqrun.data.dataset import GraphDataset, load_dataset
from dqrun.data.fingerprint import fingerprint
from dqrun.errors import DqrunError, ResultsError, TrialFailed
from dqrun.plugins import place_in_plugin
from dqrun.process.cores import use_threads
from dqrun.process.interrupts import raise_interruption
from dqrun.process.memory import keep_freed_memory
from dqrun.ranks.alone import ALONE, Ranks, RanksLost
from dqrun.runs.outcome import Outcome, failed, placed, record
from dqrun.runs.protocol import trial_hash
from dqrun.runs.provenance import versions
from dqrun.runs.store import Results
from dqrun.runs.tracking import tracked
from dqrun.sweep.locks import Heartbeat, LockFault, LockFile, LockLost, read_owner
from dqrun.sweep.plan import PlannedTrial
from dqrun.sweep.stopped import saying_what_stopped
from dqrun.training.checkpoints import Checkpoints, Identity, forget_checkpoint
from dqrun.training.state import Epoch
from dqrun.training.trial import run_trial

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Finished:
    """A trial that has its row now."""

    row: dict[str, Any]
    here: bool
    """Whether this worker ran it; else another sweep did."""


class Worker:
    """Runs trials in this process. `progress` reports to the user; `label` is stored in the locks.

    `ranks`: the processes that train with this one, the first of them.
    """

    def __init__(self, progress: Progress, label: str = "", ranks: Ranks = ALONE) -> None:
        keep_freed_memory()
        self.progress, self.label, self.ranks = progress, label, ranks
        self.in_step = True
        """Whether the other processes are where this one is: not after an error that came in the middle of a trial."""
        self._datasets: dict[str, GraphDataset] = {}
        self._folders: dict[str, Results] = {}

    def attempt(self, planned: PlannedTrial) -> Finished | None:
        """Runs and records a trial unless it has a row; None if another process runs it or the FP32 trial it needs.

        The FP32 trial of its warm start is run first, unless that has its row. Any error in a trial is recorded as its
        failure. Raises ResultsError if the results folder can't be written to, and DqrunError if the command's only
        dataset can't be read.
        """
        results = self._results(planned)
        row = planned.finished(results)
        if row is not None:
            return Finished(row, here=False)
        start = None if planned.start is None else self.attempt(planned.start)
        if planned.start is not None and start is None:
            return None
        lock = LockFile(results.lock_path(planned.name), self.label)
        try:
            if not _acquired(lock):
                log.info("%s is run by %s", planned.name, read_owner(lock.path) or "another process")
                return None
        except LockFault as error:
            return _unlockable(planned, error)
        log.info("%s begins", planned.name)
        try:
            with Heartbeat(lock) as beat:
                return self._run_locked(planned, results, beat, None if start is None else start.row)
        except DqrunError as error:
            if not isinstance(error, LockLost) and lock.is_mine():
                raise
            self.progress.note(f"{planned.name}: another process took it over while this one stood still")
            self._forget_late_checkpoint(planned, results)
            return None
        finally:
            lock.release()

    def _forget_late_checkpoint(self, planned: PlannedTrial, results: Results) -> None:
        """Removes a checkpoint that this process wrote after another one had recorded the trial."""
        lock = LockFile(results.lock_path(planned.name), self.label)
        with suppress(OSError, LockFault):
            if planned.finished(results) is None or not lock.acquire():
                return  # the other process still runs the trial, and removes the checkpoint at its end
            try:
                forget_checkpoint(results.checkpoint_path(planned.name))
            finally:
                lock.release()

    def record_death(self, planned: PlannedTrial, reason: str, text: str, label: str) -> Finished | None:
        """Records that the task `label`, which ran a trial, has died; None if another process runs the trial now."""
        results = self._results(planned)
        row = planned.finished(results)
        if row is not None:  # it died after its work was done
            return Finished(row, here=True)
        lock = LockFile(results.lock_path(planned.name), self.label)
        try:
            if not _acquired(lock, dead=label):
                return None
        except LockFault as error:
            return _unlockable(planned, error)
        try:
            results.clear_leftovers(planned.name)
            return self._record(
                failed(planned.config, planned.trial, reason, text), planned, results, keep_checkpoint=True
            )
        finally:
            lock.release()

    def _run_locked(
        self, planned: PlannedTrial, results: Results, beat: Heartbeat, start: dict[str, Any] | None
    ) -> Finished:
        results.clear_leftovers(planned.name)  # before the look: what another has half in place becomes no row after it
        row = planned.finished(results)
        if row is not None:  # recorded between the first look and the lock
            return Finished(row, here=False)
        if start is not None and start["status"] != "done":
            reason = one_line(f"its FP32 trial {start['run_id']} failed: {start['reason']}")
            return self._record(failed(planned.config, planned.trial, reason, start["reason"]), planned, results)
        checkpoints = self._checkpoints(planned, results, beat)
        try:
            folder = None if start is None else results.runs / start["run_id"]
            outcome = self._outcome(planned, checkpoints, beat, folder)
        except (LockLost, ResultsError, RanksLost):
            raise
        except Exception as error:  # any exception fails the trial; the sweep continues
            raise_interruption(error)
            if planned.alone and isinstance(error, DqrunError):
                raise
            place = place_in_plugin(error)
            reason = f"{error}" if isinstance(error, DqrunError) else f"{type(error).__name__}{place}: {error}"
            outcome = failed(planned.config, planned.trial, one_line(reason), traceback.format_exc())
        return self._record(outcome, planned, results, beat.confirm)

    def _outcome(self, planned: PlannedTrial, checkpoints: Checkpoints, beat: Heartbeat, start: Path | None) -> Outcome:
        config, trial = planned.config, planned.trial
        use_threads(config.threads, self.progress.note)
        began = time.perf_counter()
        dataset = self._dataset(config)
        warn = self._warn(planned)
        trained = {planned.name: (planned, 0)}
        with (
            saying_what_stopped(trained),
            self.progress.trial(config, trial) as show,
            tracked(config, planned.name, warn) as track,
        ):

            def report(epoch: Epoch) -> None:
                trained[planned.name] = planned, epoch.epoch
                beat.check()
                show(epoch)
                track.epoch(epoch)

            self.ranks.begin(planned.config_hash)
            self.in_step = False
            how = planned.parts, start, began, self.ranks
            outcome = run_trial(config, trial, dataset, report, checkpoints, *how)
            self.in_step = True
            track.row(outcome.row)
        return outcome

    def _record(
        self,
        outcome: Outcome,
        planned: PlannedTrial,
        results: Results,
        confirm: Callable[[], None] = lambda: None,
        keep_checkpoint: bool = False,
    ) -> Finished:
        """Writes the folder and the tables, then forgets the checkpoint; a full disk fails the trial, unrecorded.

        `keep_checkpoint`: for a trial whose process died: the next attempt continues from the checkpoint.
        """
        outcome = placed(outcome, results)
        row = vars(outcome.row)
        try:
            record(outcome, planned.config, results, confirm)
            with suppress(OSError):  # the row exists: the next command removes the rest
                if not keep_checkpoint:
                    forget_checkpoint(results.checkpoint_path(planned.name))
            self.progress.complain(results.rebuild_tables())
        except TrialFailed as error:
            row = {**row, "status": "failed", "reason": str(error), "log": ""}
        return Finished(row, here=True)

    def _checkpoints(self, planned: PlannedTrial, results: Results, beat: Heartbeat) -> Checkpoints:
        def identity_of(config: RunConfig) -> Identity:
            return Identity(trial_hash(config, planned.trial, fingerprint(config.dataset)), **versions())

        path = results.checkpoint_path(planned.name)
        return Checkpoints(path, planned.config, identity_of, self._warn(planned), beat.confirm)

    def _warn(self, planned: PlannedTrial) -> Callable[[str], None]:
        return lambda text: self.progress.complain([f"{planned.name}: {text}"])

    def _results(self, planned: PlannedTrial) -> Results:
        if planned.root not in self._folders:
            self._folders[planned.root] = Results(planned.root)
        return self._folders[planned.root]

    def _dataset(self, config: RunConfig) -> GraphDataset:
        """The dataset of a trial; the last one is cached."""
        key = repr((config.dataset, config.data))
        if key not in self._datasets:
            self._datasets = {key: load_dataset(config.dataset, config.data)}
            self.progress.note(self._datasets[key].note)
        return self._datasets[key]


def _acquired(lock: LockFile, dead: str = "") -> bool:
    """As `LockFile.acquire`; raises ResultsError with the file's name if no lock can be written."""
    try:
        return lock.acquire(dead)
    except OSError as error:
        raise ResultsError(f"could not write {lock.path}: {error.strerror}") from None


def _unlockable(planned: PlannedTrial, error: LockFault) -> Finished:
    """The failed outcome of a trial if something else has its lock's name; no process may record it."""
    row = failed(planned.config, planned.trial, one_line(str(error)), "").row
    return Finished({**vars(row), "log": ""}, here=True)


def one_line(text: str) -> str:
    """The first line that is not empty, cut to a length that fits a table."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[0][:300] if lines else ""
