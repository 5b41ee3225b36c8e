"""Clears up after processes that were killed in a results folder."""

from __future__ import annotations

from contextlib import suppress

from dqrun.runs.store import Results
from dqrun.sweep.locks import LockFault, LockFile, remove_orphans


def tidy(results: Results) -> list[str]:
    """Clears up after processes that were killed in this results folder, and removes its work folders when empty.

    Returns complaints about files that have the name of a lock but are none. If the file system refuses a removal now,
    the next command tries again.
    """
    complaints: list[str] = []
    with suppress(OSError):
        locked = {path.name.removesuffix(".lock") for path in results.locks.glob("*.lock")}
        for name in sorted(locked | results.unfinished()):
            try:
                _tidy_trial(name, results)
            except LockFault as error:
                complaints.append(str(error))
        remove_orphans(results.locks)
        results.clear_removed()
    for folder in (results.locks, results.checkpoints):
        with suppress(OSError):  # in use, or never made
            folder.rmdir()
    return complaints


def _tidy_trial(name: str, results: Results) -> None:
    """Clears up after the process that ran a trial, if it is dead."""
    lock = LockFile(results.lock_path(name))
    if not lock.acquire():
        return
    try:
        results.clear_leftovers(name)
        results.drop_old_checkpoint(name)
    finally:
        lock.release()
