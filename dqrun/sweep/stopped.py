"""The message about interrupted trials: the last epoch, and where training will continue."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from dqrun.runs.store import Results
from dqrun.sweep.plan import PlannedTrial

SHOWN = 3
"""Trials that are named; a parallel sweep may have stopped many."""


@contextmanager
def saying_what_stopped(trained: Mapping[str, tuple[PlannedTrial, int]]) -> Iterator[None]:
    """Adds to an interruption of the block a note for each trial in `trained` that has no row.

    `trained`: the running trials by name, with the number of epochs trained; the block updates it.
    """
    try:
        yield
    except KeyboardInterrupt as interruption:
        lines = [line for planned, epoch in trained.values() if (line := _stopped(planned, epoch))]
        for line in lines[:SHOWN]:
            interruption.add_note(line)
        if len(lines) > SHOWN:
            interruption.add_note(f"{len(lines) - SHOWN} other trials stopped too")
        raise


def _stopped(planned: PlannedTrial, epoch: int) -> str:
    results = Results(planned.root)
    if planned.finished(results) is not None:
        return ""
    path = results.checkpoint_path(planned.name)
    kept = f"its checkpoint is {path}" if os.path.exists(path) else "it has no checkpoint and will begin anew"
    return f"{planned.name} stopped after epoch {epoch} of {planned.config.own_train.epochs}, {kept}"
