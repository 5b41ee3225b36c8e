"""`launcher=plain`: one trial after the other in this process."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING

from dqrun.analysis.meter import count
from dqrun.analysis.progress import Progress
from dqrun.runs.store import Results
from dqrun.sweep.locks import LockFault, read_owner
from dqrun.sweep.plan import Plan, PlannedTrial

if TYPE_CHECKING:
    from dqrun.sweep.worker import Worker

POLL = 2.0
"""Seconds between two looks at trials that other sweeps are running."""


def check() -> None:
    """Nothing is needed beyond dqrun itself."""


def launch(plan: Plan, progress: Progress) -> None:
    """Runs the plan's trials; in the end waits for those that another sweep has begun."""
    if not plan.to_do:
        return
    from dqrun.sweep.worker import Worker  # imports torch, which is not needed if all trials have their rows

    run_here(plan, progress, Worker(progress))


def run_here(plan: Plan, progress: Progress, worker: Worker) -> None:
    """`launch` with a worker of this process."""
    waiting = plan.to_do
    while waiting:
        busy = []
        for planned in waiting:
            finished = worker.attempt(planned)
            if finished is None:
                busy.append(planned)
            else:
                progress.finished(finished.row, finished.here)
        if len(busy) == len(waiting):
            tell_whom_we_wait_for(busy, progress)
            time.sleep(POLL)
        waiting = busy


def tell_whom_we_wait_for(busy: list[PlannedTrial], progress: Progress) -> None:
    """Prints, once for each set of owners, which processes run the remaining trials."""
    owners = set()
    for planned in busy:
        with suppress(LockFault, OSError):
            owners.add(read_owner(Results(planned.root).lock_path(planned.name)))
    names = sorted({str(owner) for owner in owners if owner is not None})
    if names:
        progress.note(f"waiting for {', '.join(names)}, which runs what is left ({count(len(busy), 'trial')} at first)")
