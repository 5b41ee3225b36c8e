"""Run folders and the tables derived from them. A run is a folder; a table is never edited, only rebuilt."""

from __future__ import annotations

import errno
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from dqrun.analysis.text import csv_line
from dqrun.durable import clear_parts, sync_folder, sync_tree, write_text
from dqrun.errors import ResultsError, TrialFailed
from dqrun.paths import user_path
from dqrun.runs.protocol import NAMED_DIGITS
from dqrun.runs.row import TRIAL_COLUMNS, read_row
from dqrun.runs.tables import SUMMARY_COLUMNS, Record, row_files

MODEL = "model.safetensors"
"""The trained network in a run's folder."""
TABLES = ("trials.csv", "summary.csv")
_GONE = ".gone-"
_HALF = re.compile(r"\.(?:old-)?(?P<run>.+-[0-9a-f]{8})(?:[0-9a-f]{8})?-[^-]+")
"""A folder that is to become a run's, or was one: its trial's name has eight digits of the hash, it may have all."""
_REBUILDS = 4
"""Times that tables are written at most because rows came meanwhile."""


class Results:
    """The results folder: `runs/<run_id>/` holds config.yaml, history.csv, row.json and model.safetensors.

    While trials run, `.locks/` has their lock files and `.checkpoints/` their training checkpoints.
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
        self.files = row_files(self.runs)

    def row(self, run_id: str, config_hash: str) -> dict[str, Any] | None:
        """The row of a finished trial, or None if there is none or it can't be read.

        A folder's name contains only a part of the hash: a row counts if its whole hash is the trial's.
        """
        for name in self._names(run_id, config_hash):
            row = self.files.row(name)
            if row is not None and row["config_hash"] == config_hash:
                return row
        return None

    def place(self, run_id: str, config_hash: str) -> str:
        """The name of a trial's folder: `run_id`, or a longer one where that folder holds the row of another trial."""
        short, long = self._names(run_id, config_hash)
        row = self.files.row(short)
        taken = row is not None and row["config_hash"] != config_hash
        return long if taken or (self.runs / long).exists() else short

    @staticmethod
    def _names(run_id: str, config_hash: str) -> tuple[str, str]:
        """The folder names that a trial may have: with its hash cut to eight digits, and whole."""
        return run_id, f"{run_id.removesuffix(config_hash[:NAMED_DIGITS])}{config_hash}"

    def has_model(self, row: dict[str, Any] | None) -> bool:
        """Whether the folder of a row's trial has a model file."""
        return row is not None and (self.runs / row["run_id"] / MODEL).is_file()

    @contextmanager
    def writing(self, run_id: str) -> Iterator[Path]:
        """A temporary folder that becomes `runs/<run_id>` if the block ends without an error, else it is removed.

        Its files are flushed to disk before it is renamed. Raises TrialFailed if the disk is full.
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
        """The lock file of a trial: its holder may write the trial's folder and checkpoint."""
        return self.locks / f"{run_id}.lock"

    def checkpoint_path(self, run_id: str) -> Path:
        """The training checkpoint of a trial."""
        return self.checkpoints / f"{run_id}.pt"

    def clear_leftovers(self, run_id: str) -> None:
        """Removes temporary folders of a killed process for a trial; the caller must hold the trial's lock.

        If the process was killed after it had moved an old folder aside and before the new one had its name, the old
        folder is restored. A stopped process may continue at any moment. Therefore a folder is renamed before it is
        removed: the process then fails, and cannot publish a half-removed folder.
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
        """Names of trials with a half-written folder or a checkpoint; running ones have the lock of a live process."""
        found = {path.name.removesuffix(".pt") for path in self.checkpoints.glob("*.pt") if path.name[0] != "."}
        for folder in self.runs.glob(".*-*"):
            if match := _HALF.fullmatch(folder.name):
                found.add(match["run"])
        return found

    def clear_removed(self) -> None:
        """Removes leftovers of processes that were killed while they removed folders or wrote tables."""
        for folder in self.runs.glob(f"{_GONE}*"):
            shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):
            for table in TABLES:
                clear_parts(self.root / table)

    def drop_old_checkpoint(self, run_id: str) -> None:
        """Removes a checkpoint that is older than the trial's row: its writer was killed before it could remove it.

        The checkpoint of a failed trial stays, so that a trial whose process died can continue from it.
        """
        with suppress(OSError, ValueError):
            checkpoint, row = self.checkpoint_path(run_id), self.runs / run_id / "row.json"
            if checkpoint.stat().st_mtime <= row.stat().st_mtime and read_row(row)["status"] == "done":
                checkpoint.unlink()

    def read_rows(self) -> tuple[list[dict[str, Any]], list[str]]:
        """All readable rows, oldest first, and one complaint per row.json that isn't one."""
        return _rows_and_complaints(self.files.records(self.files.stamps()))

    def summary(self) -> list[dict[str, Any]]:
        """A line per cell, as in `summary.csv`, from the rows on disk."""
        return self.files.summary(self.read_rows()[0])

    def rebuild_tables(self) -> list[str]:
        """Writes trials.csv and summary.csv from the run folders, atomically; returns complaints on damaged rows.

        There is no lock, because a stopped process would keep it. Instead the folders are read again after the tables
        are written, and everything is repeated if a row was added or changed meanwhile. So a process that continues
        after a long stop does not leave old tables. If rows come faster than tables are written, the process that
        records the last row writes the final tables. Raises TrialFailed on a full disk: the tables then lack the last
        trial, whose folder is complete.
        """
        for turn in range(1, _REBUILDS + 1):
            try:
                stamps = self.files.stamps()
                records = self.files.records(stamps)
                rows, complaints = _rows_and_complaints(records)
                summary = ([line[name] for name in SUMMARY_COLUMNS] for line in self.files.summary(rows))
                _write_table(self.root / "trials.csv", TRIAL_COLUMNS, (record.line for record in records))
                _write_table(self.root / "summary.csv", SUMMARY_COLUMNS, map(csv_line, summary))
            except OSError as error:
                if isinstance(error, FileNotFoundError) and turn < _REBUILDS:
                    continue  # a starting sweep removed the half-written table as a dead process's
                raise self._cannot_write(self.root, error) from None
            if self.files.stamps() == stamps:
                break
        return complaints

    def _cannot_write(self, path: Path, error: OSError) -> TrialFailed | ResultsError:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return TrialFailed(f"no space left in {self.root}: the trial could not be recorded")
        return ResultsError(f"could not write {path}: {error.strerror}")


def _rows_and_complaints(records: Sequence[Record]) -> tuple[list[dict[str, Any]], list[str]]:
    rows = [record.row for record in records if not record.complaint]
    return rows, [record.complaint for record in records if record.complaint]


def _replace_folder(source: Path, target: Path) -> None:
    """Replaces folder `target` by `source`; `target` is moved aside first, so that the data are always complete."""
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
    shutil.rmtree(aside, ignore_errors=True)  # it may be another user's; the next holder of the lock tries again


def _write_table(path: Path, columns: Sequence[str], lines: Iterable[str]) -> None:
    """Replaces a table; text of users is escaped so that spreadsheets do not read it as a formula."""
    write_text(path, "".join([csv_line(columns), *lines]))
