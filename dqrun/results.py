"""Run folders and the tables derived from them. A run is a folder; a table is never edited, only rebuilt."""

from __future__ import annotations

import errno
import glob
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock

from dqrun.errors import ResultsError, TrialFailed
from dqrun.row import TRIAL_COLUMNS, read_row

MODEL = "model.safetensors"
"""The trained network in a run's folder."""
_PART = "part"
CELL_COLUMNS = [
    "dataset", "task", "model", "quant", "weight_bits", "activation_bits", "method", "estimator", "observer", "p_min",
    "p_max", "plan", "protocol", "metric", "higher_is_better",
]  # fmt: skip


class Results:
    """The results folder: `runs/<run_id>/` holds config.yaml, history.csv, row.json and model.safetensors.

    While trials run, `.locks/` says who runs them and `.checkpoints/` holds their training so far.
    """

    def __init__(self, root: Path | str) -> None:
        """Creates the folder; raises ResultsError when it can't be written to."""
        self.root = Path(root).expanduser()
        self.runs = self.root / "runs"
        self.locks = self.root / ".locks"
        self.checkpoints = self.root / ".checkpoints"
        try:
            self.runs.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.runs):
                pass
        except OSError as error:
            raise ResultsError(
                f"results.dir must be a writable folder, got {str(self.root)!r} ({error.strerror})"
            ) from None

    def row(self, run_id: str) -> dict[str, Any] | None:
        """The row of a finished trial, or None when there is none or it can't be read."""
        try:
            return read_row(self.runs / run_id / "row.json")
        except (OSError, ValueError):
            return None

    def has_model(self, run_id: str) -> bool:
        """Whether a trial left its trained network."""
        return (self.runs / run_id / MODEL).is_file()

    @contextmanager
    def writing(self, run_id: str) -> Iterator[Path]:
        """A temporary folder that becomes `runs/<run_id>` when the block ends well, and vanishes otherwise.

        Raises TrialFailed when the disk is full.
        """
        folder: Path | None = None
        try:
            folder = Path(tempfile.mkdtemp(prefix=f".{run_id}-", dir=self.runs))
            yield folder
            _replace_folder(folder, self.runs / run_id)
        except OSError as error:
            raise self._cannot_write(self.runs / run_id, error) from None
        finally:
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)

    def lock_path(self, run_id: str) -> Path:
        """The lock of a trial: who holds it may write the trial's folder and checkpoint."""
        return self.locks / f"{run_id}.lock"

    def checkpoint_path(self, run_id: str) -> Path:
        """The training checkpoint of a trial."""
        return self.checkpoints / f"{run_id}.pt"

    def clear_leftovers(self, run_id: str) -> None:
        """Removes what a killed process left of writing a trial's folder; for the holder of the trial's lock.

        When it was killed between moving an old folder aside and putting the new one in its place, the old comes back.
        """
        name = glob.escape(run_id)
        for aside in self.runs.glob(f".old-{name}-*"):
            if (aside / "run").is_dir() and not (self.runs / run_id).exists():
                (aside / "run").rename(self.runs / run_id)
            shutil.rmtree(aside, ignore_errors=True)
        for folder in self.runs.glob(f".{name}-*"):
            shutil.rmtree(folder, ignore_errors=True)

    def drop_old_checkpoint(self, run_id: str) -> None:
        """Removes a checkpoint that is older than the trial's row, when its writer was killed before it could."""
        with suppress(FileNotFoundError):
            checkpoint = self.checkpoint_path(run_id)
            if checkpoint.stat().st_mtime <= (self.runs / run_id / "row.json").stat().st_mtime:
                checkpoint.unlink()

    def read_rows(self) -> tuple[list[dict[str, Any]], list[str]]:
        """All readable rows, oldest first, and one complaint per row.json that isn't one."""
        rows, complaints = [], []
        for path in sorted(self.runs.glob("*/row.json")):
            if path.parent.name.startswith("."):
                continue
            try:
                rows.append(read_row(path))
            except (OSError, ValueError) as error:
                complaints.append(f"{path} is damaged and was skipped ({error})")
        return sorted(rows, key=lambda row: (row["finished_utc"], row["run_id"])), complaints

    def rebuild_tables(self) -> list[str]:
        """Writes trials.csv and summary.csv from the run folders, atomically; returns complaints on damaged rows.

        Raises TrialFailed on a full disk: the tables then lack the last trial, its folder does not.
        """
        try:
            with FileLock(self.root / ".tables.lock"):
                for leftover in self.root.glob(f".{_PART}-*.csv"):  # of a killed process
                    leftover.unlink(missing_ok=True)
                rows, complaints = self.read_rows()
                frame = pd.DataFrame(rows, columns=TRIAL_COLUMNS)
                _write_csv(frame, self.root / "trials.csv")
                _write_csv(summarise(frame), self.root / "summary.csv")
        except OSError as error:
            raise self._cannot_write(self.root, error) from None
        return complaints

    def _cannot_write(self, path: Path, error: OSError) -> TrialFailed | ResultsError:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return TrialFailed(f"no space left in {self.root}: the trial could not be recorded")
        return ResultsError(f"could not write {path}: {error.strerror}")


def summarise(trials: pd.DataFrame) -> pd.DataFrame:
    """One line per cell (equal configuration but for seed and fold) of a frame of rows.

    `trials`: number of finished ones, `failed`: of failed ones, which enter no mean. For `test` and `val`: mean, std
    (unbiased) and the half-width of the mean's 95 % confidence interval (Student's t); empty below two trials.
    """
    lines = []
    for cell, group in trials.groupby("cell_hash", sort=False):
        done = group[group["status"] == "done"]
        line = {name: group[name].iloc[0] for name in CELL_COLUMNS}
        line |= {"trials": len(done), "failed": len(group) - len(done)}
        for part in ("test", "val"):
            values = done[f"{part}_metric"].astype(float)
            line |= {f"{part}_mean": values.mean(), f"{part}_std": values.std(), f"{part}_ci95": ci95(values)}
        line["test_integer_mean"] = done["test_metric_integer"].astype(float).mean()
        line |= {"epochs": done["epochs"].max(), "seconds": done["seconds"].astype(float).mean(), "cell_hash": cell}
        lines.append(line)
    columns = [
        *CELL_COLUMNS, "trials", "failed", "test_mean", "test_std", "test_ci95", "val_mean", "val_std", "val_ci95",
        "test_integer_mean", "epochs", "seconds", "cell_hash",
    ]  # fmt: skip
    return pd.DataFrame(lines, columns=columns)


def ci95(values: pd.Series) -> float:
    """Half-width of the 95 % confidence interval of a mean (Student's t with n - 1 degrees); nan for n < 2."""
    if len(values) < 2:
        return float("nan")
    from scipy.stats import t  # here, not above: importing scipy.stats takes most of a second

    return float(t.ppf(0.975, len(values) - 1) * values.std() / len(values) ** 0.5)


def _replace_folder(source: Path, target: Path) -> None:
    """Renames a folder over another, which is moved aside first: at each moment one complete folder has the data."""
    source.chmod(0o755)  # mkdtemp makes it private
    if not target.exists():
        source.rename(target)
        return
    aside = Path(tempfile.mkdtemp(prefix=f".old-{target.name}-", dir=target.parent))
    target.rename(aside / "run")
    source.rename(target)
    shutil.rmtree(aside)


def _write_csv(frame: pd.DataFrame, path: Path) -> None:
    temporary = path.with_name(f".{_PART}-{os.getpid()}-{path.name}")
    try:
        frame.to_csv(temporary, index=False)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
