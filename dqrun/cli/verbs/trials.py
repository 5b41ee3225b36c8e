"""All trials of a results folder or a study: finished, failed, running, stopped and damaged ones."""

from __future__ import annotations

from pathlib import Path

from dqrun.analysis.rows import Run, load_runs
from dqrun.errors import ResultsError
from dqrun.runs.row import read_row
from dqrun.sweep.locks import LockFault, is_stale, read_owner

UNFINISHED = ("running", "stopped", "damaged")
"""Values of `status` that no row has: a live lock; a checkpoint without a lock; a folder without a readable row."""


def list_trials(root: Path) -> tuple[list[Run], list[str]]:
    """The trials in a folder, oldest first, unfinished ones last, and complaints about what could not be read.

    An unfinished trial has a row with `run_id`, `status` and `reason` alone. Raises ResultsError for a folder that
    holds no results.
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
    """Raises ResultsError unless the folder holds run folders, which can be changed; a study's rows can't."""
    if not (root / "runs").is_dir():
        raise ResultsError(f"{root} must be a results folder with run folders in runs/")


def _unfinished(folder: Path, status: str, reason: str) -> Run:
    return Run({"run_id": folder.name, "status": status, "reason": reason}, folder)


def _running(root: Path) -> tuple[dict[str, str], list[str]]:
    """Names of the trials whose lock is alive and who holds it, and complaints about what is no lock."""
    found, complaints = {}, []
    for path in sorted((root / ".locks").glob("[!.]*.lock")):
        try:
            owner = read_owner(path)
            if owner is not None and not is_stale(path, owner):
                found[path.name.removesuffix(".lock")] = str(owner)
        except LockFault as error:
            complaints.append(str(error))
        except OSError:  # gone a moment ago
            continue
    return found, complaints
