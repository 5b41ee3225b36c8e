"""Removes trials from a results folder and changes their rows; holds the trial's lock meanwhile."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from dqrun.errors import ResultsError
from dqrun.runs.store import Results
from dqrun.sweep.locks import LockFile


def remove(root: Path, names: Sequence[str]) -> list[str]:
    """Removes run folders and checkpoints, rebuilds the tables, and returns a line for each trial that stays.

    A trial stays if another process has its lock, or if the removal fails. Raises ResultsError if a lock cannot be
    written.
    """
    return each_locked(root, names, lambda results, name: _remove(results, name))


def each_locked(root: Path, names: Sequence[str], change: Callable[[Results, str], None]) -> list[str]:
    """Applies `change` to each trial with its lock held and rebuilds the tables; returns a line per unchanged trial.

    Raises ResultsError if a lock cannot be written.
    """
    results, left = Results(root), []
    try:
        for name in names:
            with _locked(results, name) as mine:
                if not mine:
                    left.append(f"{name}: another process runs it, it stays as it is")
                    continue
                try:
                    change(results, name)
                except (OSError, ValueError) as error:
                    left.append(f"{name}: {getattr(error, 'strerror', None) or error}, it stays as it is")
    finally:
        results.rebuild_tables()
    return left


@contextmanager
def _locked(results: Results, name: str) -> Iterator[bool]:
    lock = LockFile(results.lock_path(name))
    try:
        if not lock.acquire():
            yield False
            return
    except OSError as error:
        raise ResultsError(f"could not write {lock.path}: {error.strerror}") from None
    try:
        yield True
    finally:
        lock.release()
        _drop_empty(results.locks)


def _remove(results: Results, name: str) -> None:
    """Renames the folder before it removes it, so that a killed process leaves no partial run."""
    results.clear_leftovers(name)
    folder = results.runs / name
    if folder.is_dir():
        aside = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=results.runs))  # `clear_leftovers` removes this name
        folder.rename(aside / "run")
        shutil.rmtree(aside)
    results.checkpoint_path(name).unlink(missing_ok=True)
    _drop_empty(results.checkpoints)


def _drop_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:  # not empty, or missing
        return
