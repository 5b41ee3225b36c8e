"""Common code of launchers with separate workers: sends trials to workers and records results and failures."""

from __future__ import annotations

import os
import pickle
import time
import traceback
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

from dqrun.analysis.progress import Progress, title
from dqrun.config import RunConfig
from dqrun.errors import DqrunError
from dqrun.plugins import load_plugins
from dqrun.ranks.alone import ALONE, Ranks
from dqrun.runs.protocol import Trial
from dqrun.sweep.following import Follower, trials_of
from dqrun.sweep.launchers.plain import POLL, tell_whom_we_wait_for
from dqrun.sweep.plan import Plan, PlannedTrial
from dqrun.sweep.worker import Finished, Worker, one_line
from dqrun.training.state import Epoch

LOOK = 0.05
"""Seconds between two looks at tasks that run."""


class Died(Exception):
    """The process of a task ended before the task was done; `log`: details."""

    def __init__(self, message: str, log: str) -> None:
        super().__init__(message)
        self.log = log


@dataclass(frozen=True)
class Heard:
    """An epoch of a trial in another process: the trial's title and its number of epochs."""

    title: str
    epochs: int
    epoch: Epoch


@dataclass(frozen=True)
class Answer:
    """The answer of a worker in another process: the result of the trial, and messages for the user."""

    finished: Finished | None
    notes: list[str]
    complaints: list[str]


class Task(Protocol):
    """A trial that was sent to a worker."""

    def done(self) -> bool:
        """Whether `result` returns at once."""
        ...

    def result(self) -> Answer:
        """The result of `attempt` in the worker; raises Died if the worker died, and the exception of `attempt`."""
        ...


@dataclass(frozen=True)
class Job:
    """A trial to be sent to a worker."""

    planned: PlannedTrial
    label: str
    """In the trial's lock, so that its launcher can tell that the worker died."""

    @classmethod
    def of(cls, planned: PlannedTrial) -> Job:
        """A new job for a trial."""
        return cls(planned, uuid.uuid4().hex)

    def parcel(self) -> Parcel:
        """The job in the form for a worker in any folder and on any machine."""
        settings = {name: value for name, value in os.environ.items() if name.startswith("DQRUN_")}
        plugins = tuple(self.planned.config.plugins)
        return Parcel(pickle.dumps(self.planned), self.label, os.getcwd(), settings, plugins)


@dataclass(frozen=True)
class Parcel:
    """A job for another process, with the folder, the settings and the plug-ins of the command.

    The trial stays pickled until the plug-ins are imported, because its configuration may have values of their classes.
    """

    content: bytes
    label: str
    folder: str
    environment: dict[str, str]
    plugins: tuple[str, ...] = ()

    def unpacked(self) -> PlannedTrial:
        """The trial, in the folder and with the plug-ins of the command; raises ConfigError as `load_plugins` does."""
        os.chdir(self.folder)  # relative paths of the configuration are relative to it
        os.environ.update(self.environment)
        load_plugins(self.plugins)
        planned: PlannedTrial = pickle.loads(self.content)
        return planned


Submit = Callable[[Job], Task]


class _Collector(Progress):
    """Collects notes and complaints for the process of the command; `listen` gets each epoch at once."""

    def __init__(self, listen: Callable[[Heard], None]) -> None:
        super().__init__(quiet=True)
        self._listen = listen
        self.notes: list[str] = []
        self.complaints: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def complain(self, complaints: list[str]) -> None:
        self.complaints += complaints

    @contextmanager
    def trial(self, config: RunConfig, trial: Trial) -> Iterator[Callable[[Epoch], None]]:
        name, epochs = title(config, trial), config.own_train.epochs
        yield lambda epoch: self._listen(Heard(name, epochs, epoch))


@cache
def _worker() -> Worker:
    """The worker of this process; it keeps its dataset between trials."""
    return Worker(_Collector(lambda heard: None))


def attempt(parcel: Parcel, listen: Callable[[Heard], None] = lambda heard: None) -> Answer:
    """Runs a trial in the process of a launched task; `listen` gets each epoch."""
    planned = parcel.unpacked()
    ranks = ranks_of(planned.config)
    if ranks.rank:
        follower(ranks).follow(trials_of([planned.config]), planned.parts)
        return Answer(None, [], [])
    worker, said = _worker(), _Collector(listen)
    worker.progress, worker.label, worker.ranks = said, parcel.label, ranks
    finished = worker.attempt(planned)
    ranks.end()
    return Answer(finished, said.notes, said.complaints)


def ranks_of(config: RunConfig) -> Ranks:
    """The processes that train with this one, which `launcher=torchrun` started for the sweep."""
    return _joined(config.launcher.timeout) if config.launcher.name == "torchrun" and config.processes > 1 else ALONE


@cache
def _joined(seconds: float) -> Ranks:
    from dqrun.ranks.distributed import join  # a slow import, which a single process does not need

    return join(seconds)


@cache
def follower(ranks: Ranks) -> Follower:
    """The follower of this process; it keeps its dataset between trials."""
    return Follower(ranks)


def drive(plan: Plan, progress: Progress, submit: Submit, slots: int) -> None:
    """Sends the plan's trials to workers, at most `slots` at a time, until each has its row.

    A trial that another sweep has begun is tried again later. If a worker dies, its trial is recorded as failed.
    """
    here = Worker(progress)
    waiting = deque(plan.to_do)
    later: list[PlannedTrial] = []
    running: list[tuple[Job, Task]] = []
    while waiting or running or later:
        while waiting and len(running) < slots:
            job = Job.of(waiting.popleft())
            running.append((job, submit(job)))
        ended = [(job, task) for job, task in running if task.done()]
        running = [entry for entry in running if entry not in ended]
        for job, task in ended:
            progress.unheard(job.label)
            finished = _settle(here, job, task, progress)
            if finished is None:
                later.append(job.planned)
            else:
                progress.finished(finished.row, finished.here)
        if later and not waiting and not running:
            tell_whom_we_wait_for(later, progress)
            time.sleep(POLL)
            waiting.extend(later)
            later = []
        elif not ended:
            time.sleep(LOOK)


def _settle(here: Worker, job: Job, task: Task, progress: Progress) -> Finished | None:
    """The row of a task that has ended, of a failed trial if the task failed; None if another sweep has the trial."""
    try:
        answer = task.result()
    except DqrunError:  # of the command as a whole: the results folder, or its only dataset
        raise
    except Died as error:
        return here.record_death(job.planned, one_line(str(error)), error.log, job.label)
    except Exception as error:  # an error of the launcher itself fails this trial, not the sweep
        reason = one_line(f"{type(error).__name__}: {error}")
        return here.record_death(job.planned, reason, traceback.format_exc(), job.label)
    for note in answer.notes:
        progress.note(note)
    progress.complain(answer.complaints)
    return answer.finished


def tail_of(text: Any, lines: int = 40) -> str:
    """The last lines of a log; empty if it is missing."""
    return "\n".join(str(text or "").splitlines()[-lines:])
