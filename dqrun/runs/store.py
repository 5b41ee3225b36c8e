"""Run folders and the tables derived from them. A run is a folder; a table is never edited, only rebuilt."""

from __future__ import annotations

import errno
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pandas as pd

from dqrun.analysis.text import for_csv
from dqrun.durable import clear_parts, replacing, sync_folder, sync_tree
from dqrun.errors import ResultsError, TrialFailed, printable
from dqrun.paths import user_path
from dqrun.runs.protocol import NAMED_DIGITS
from dqrun.runs.row import TRIAL_COLUMNS, read_row

MODEL = "model.safetensors"
"""The trained network in a run's folder."""
TABLES = ("trials.csv", "summary.csv")
_GONE = ".gone-"
_HALF = re.compile(r"\.(?:old-)?(?P<run>.+-[0-9a-f]{8})(?:[0-9a-f]{8})?-[^-]+")
"""A folder that is to become a run's, or was one: its trial's name has eight digits of the hash, it may have all."""
_REBUILDS = 4
"""Times that tables are written at most because rows came meanwhile."""
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
        self.root = user_path(root)
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

    def row(self, run_id: str, config_hash: str) -> dict[str, Any] | None:
        """The row of a finished trial, or None when there is none or it can't be read.

        A folder's name holds a part of the hash only: a row counts where its whole hash is the trial's.
        """
        for name in self._names(run_id, config_hash):
            row = self._read(name)
            if row is not None and row["config_hash"] == config_hash:
                return row
        return None

    def place(self, run_id: str, config_hash: str) -> str:
        """The name of a trial's folder: `run_id`, or a longer one where that folder holds the row of another trial."""
        short, long = self._names(run_id, config_hash)
        row = self._read(short)
        taken = row is not None and row["config_hash"] != config_hash
        return long if taken or (self.runs / long).exists() else short

    @staticmethod
    def _names(run_id: str, config_hash: str) -> tuple[str, str]:
        """The folder names that a trial may have: with its hash cut to eight digits, and whole."""
        return run_id, f"{run_id.removesuffix(config_hash[:NAMED_DIGITS])}{config_hash}"

    def _read(self, name: str) -> dict[str, Any] | None:
        try:
            return read_row(self.runs / name / "row.json")
        except (OSError, ValueError):
            return None

    def has_model(self, row: dict[str, Any] | None) -> bool:
        """Whether the trial of a row left its trained network."""
        return row is not None and (self.runs / row["run_id"] / MODEL).is_file()

    @contextmanager
    def writing(self, run_id: str) -> Iterator[Path]:
        """A temporary folder that becomes `runs/<run_id>` when the block ends well, and vanishes otherwise.

        Its files have reached the disk when it gets its name. Raises TrialFailed when the disk is full.
        """
        folder = self.runs / f".{run_id}-{secrets.token_hex(4)}"
        try:
            folder.mkdir()
            yield folder
            sync_tree(folder)
            _replace_folder(folder, self.runs / run_id)
        except OSError as error:
            raise self._cannot_write(self.runs / run_id, error) from None
        finally:
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
        A process that stands still may go on at any moment: a folder is renamed before it is removed, so that the
        process can't put a half-removed one in its place, and fails.
        """
        left = re.compile(
            rf"\.(old-)?(?P<run>{re.escape(run_id)}([0-9a-f]{{8}})?)-[^-]+"
        )  # 8: the rest of a whole hash
        for folder in self.runs.iterdir():
            if (match := left.fullmatch(folder.name)) is None:
                continue
            comes_back = match[1] and not (self.runs / match["run"]).exists()
            gone = self.runs / f"{_GONE}{secrets.token_hex(6)}"
            with suppress(FileNotFoundError):
                folder.rename(self.runs / match["run"] if comes_back else gone)
            shutil.rmtree(gone, ignore_errors=True)

    def unfinished(self) -> set[str]:
        """Trials with a half-written folder or a checkpoint; those that run now have a lock of a living process."""
        found = {path.name.removesuffix(".pt") for path in self.checkpoints.glob("*.pt") if path.name[0] != "."}
        for folder in self.runs.glob(".*-*"):
            if match := _HALF.fullmatch(folder.name):
                found.add(match["run"])
        return found

    def clear_removed(self) -> None:
        """Removes what a killed process left of removing folders and of writing tables."""
        for folder in self.runs.glob(f"{_GONE}*"):
            shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):
            for table in TABLES:
                clear_parts(self.root / table)

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
                complaints.append(printable(f"{path} is damaged and was skipped ({error})"))
        return sorted(rows, key=lambda row: (row["finished_utc"], row["run_id"])), complaints

    def rebuild_tables(self) -> list[str]:
        """Writes trials.csv and summary.csv from the run folders, atomically; returns complaints on damaged rows.

        There is no lock, because a stopped process would keep it. Instead the folders are looked at again when the
        tables are written, and all is repeated if a row came or changed meanwhile: a process that goes on after a long
        stop does not leave old tables. Where rows come faster than tables are written, the process that records the
        last row writes the last tables. Raises TrialFailed on a full disk: the tables then lack the last trial, its
        folder does not.
        """
        for turn in range(1, _REBUILDS + 1):
            before = self._rows_on_disk()
            rows, complaints = self.read_rows()
            frame = pd.DataFrame(rows, columns=TRIAL_COLUMNS)
            try:
                for table, content in zip(TABLES, (frame, summarise(frame)), strict=True):
                    _write_csv(content, self.root / table)
            except OSError as error:
                if isinstance(error, FileNotFoundError) and turn < _REBUILDS:
                    continue  # a sweep that begins took the half-written table for a dead process's
                raise self._cannot_write(self.root, error) from None
            if self._rows_on_disk() == before:
                break
        return complaints

    def _rows_on_disk(self) -> set[tuple[str, int, int, int]]:
        """Every row.json with its inode, size and time: another set, other rows."""
        found = set()
        for path in self.runs.glob("*/row.json"):
            with suppress(OSError):
                about = path.stat()
                found.add((path.parent.name, about.st_ino, about.st_size, about.st_mtime_ns))
        return found

    def _cannot_write(self, path: Path, error: OSError) -> TrialFailed | ResultsError:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return TrialFailed(f"no space left in {self.root}: the trial could not be recorded")
        return ResultsError(f"could not write {path}: {error.strerror}")


def summarise(trials: pd.DataFrame) -> pd.DataFrame:
    """One line per cell (equal configuration but for seed and fold) of a frame of rows.

    `trials`: number of finished ones, `failed`: of failed ones, which enter no mean. For `test` and `val`: mean, std
    (unbiased) and the half-width of the mean's 95 % confidence interval (Student's t); empty below two trials.
    `baseline_mean`: what a constant prediction reaches on the same test parts. `epochs_min` and `epochs_max`: epochs
    that trials trained; `seconds_mean`: of their training and evaluation.
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
        line["baseline_mean"] = done["baseline"].astype(float).mean()
        line |= {"epochs_min": done["epochs"].min(), "epochs_max": done["epochs"].max()}
        line |= {"seconds_mean": done["seconds"].astype(float).mean(), "cell_hash": cell}
        lines.append(line)
    columns = [
        *CELL_COLUMNS, "trials", "failed", "test_mean", "test_std", "test_ci95", "val_mean", "val_std", "val_ci95",
        "test_integer_mean", "baseline_mean", "epochs_min", "epochs_max", "seconds_mean", "cell_hash",
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
    if not target.exists():
        source.rename(target)
        sync_folder(target.parent)
        return
    aside = target.with_name(f".old-{target.name}-{secrets.token_hex(4)}")
    target.rename(aside)
    try:
        source.rename(target)
    except OSError:
        aside.rename(target)
        raise
    sync_folder(target.parent)
    shutil.rmtree(aside, ignore_errors=True)  # it may be another user's; whoever takes the trial's lock tries again


def _write_csv(frame: pd.DataFrame, path: Path) -> None:
    """Replaces a table; a user's text is never a formula in it."""
    with replacing(path) as part:
        frame.map(for_csv).to_csv(part, index=False, encoding="utf-8")
