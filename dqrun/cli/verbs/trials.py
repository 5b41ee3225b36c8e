"""All trials of a results folder or a study: finished, failed, running, stopped and damaged ones."""

from __future__ import annotations

from pathlib import Path

from dqrun.analysis.rows import Run, load_runs
from dqrun.errors import ResultsError
from dqrun.runs.row import read_row
from dqrun.sweep.locks import LockFault, is_stale, read_owner

UNFINISHED = ("running", "stopped", "damaged")
"""Values of `status` for trials without a row: its lock is held; it has only a checkpoint; its row is unreadable."""


def list_trials(root: Path) -> tuple[list[Run], list[str]]:
    """The trials in a folder, oldest first, unfinished ones last, and complaints about files that could not be read.

    An unfinished trial has a row with only `run_id`, `status` and `reason`. Raises ResultsError for a folder without
    results.
    """
    if not (root / "runs").is_dir():
        return load_runs([root])
    running, complaints = _running(root)
    found: dict[str, Run] = {}
    for folder in sorted(path for path in (root / "runs").iterdir() if path.is_dir() and path.name[0] != "."):
        try:
            found[folder.name] = Run(read_row(folder / "row.json"), folder)
        except (OSError, ValueError) as error:
            reason = "it is missing" if isinstance(error, FileNotFoundError) else str(error)
            found[folder.name] = _unfinished(folder, "damaged", f"row.json: {reason}")
            complaints.append(f"{folder / 'row.json'} is damaged ({reason})")
    for name, owner in running.items():
        found[name] = _unfinished(root / "runs" / name, "running", owner)
    for path in sorted((root / ".checkpoints").glob("[!.]*.pt")):
        name = path.name.removesuffix(".pt")
        if name not in found:
            found[name] = _unfinished(root / "runs" / name, "stopped", "has a checkpoint: the same command goes on")
    return sorted(found.values(), key=lambda run: (run.row.get("finished_utc", "~"), run.row["run_id"])), complaints


def require_results(root: Path) -> None:
    """Raises ResultsError unless the folder has run folders: a study's rows can't be changed."""
    if not (root / "runs").is_dir():
        raise ResultsError(f"{root} must be a results folder with run folders in runs/")


def _unfinished(folder: Path, status: str, reason: str) -> Run:
    return Run({"run_id": folder.name, "status": status, "reason": reason}, folder)


def _running(root: Path) -> tuple[dict[str, str], list[str]]:
    """The owners of held locks by the trial's name, and complaints about invalid lock files."""
    found, complaints = {}, []
    for path in sorted((root / ".locks").glob("[!.]*.lock")):
        try:
            owner = read_owner(path)
            if owner is not None and not is_stale(path, owner):
                found[path.name.removesuffix(".lock")] = str(owner)
        except LockFault as error:
            complaints.append(str(error))
        except OSError:  # removed meanwhile
            continue
    return found, complaints
