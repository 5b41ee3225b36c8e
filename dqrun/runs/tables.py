"""`trials.csv` and `summary.csv`, which are derived from the rows of the run folders."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import attrgetter
from pathlib import Path
from typing import Any

from dqrun.analysis.text import csv_line
from dqrun.errors import printable
from dqrun.runs.intervals import ci95, mean, std
from dqrun.runs.row import TRIAL_COLUMNS, read_row

CELL_COLUMNS = [
    "dataset", "task", "model", "quant", "weight_bits", "activation_bits", "method", "estimator", "observer", "p_min",
    "p_max", "plan", "protocol", "metric", "higher_is_better",
]  # fmt: skip
SUMMARY_COLUMNS = [
    *CELL_COLUMNS, "trials", "failed", "test_mean", "test_std", "test_ci95", "val_mean", "val_std", "val_ci95",
    "test_integer_mean", "baseline_mean", "epochs_min", "epochs_max", "seconds_mean", "cell_hash",
]  # fmt: skip

Stamp = tuple[int, int, int]
"""Inode, size and time of a file: another stamp, another content."""


@dataclass(slots=True)
class Record:
    """The content of a row.json: its row and its line in `trials.csv`, or the error in it."""

    stamp: Stamp
    row: dict[str, Any]
    line: str
    complaint: str = ""
    place: tuple[str, str] = ("", "")  # of the row among others: when it was finished, and its name


@lru_cache(maxsize=4)
def row_files(runs: Path) -> RowFiles:
    """The rows of a folder; one object per folder in this process."""
    return RowFiles(runs)


class RowFiles:
    """The rows of a folder `runs/`. A file is read and checked once, and again only when its stamp changes.

    Rows are shared between callers and must not be changed.
    """

    def __init__(self, runs: Path) -> None:
        self.runs = runs
        self._prefix = f"{runs}/"
        self._records: dict[str, Record] = {}
        self._cells: dict[str, tuple[list[dict[str, Any]], dict[str, Any]]] = {}

    def row(self, name: str) -> dict[str, Any] | None:
        """The row in a run folder, or None if there is none or it can't be read."""
        try:
            status = os.stat(f"{self._prefix}{name}/row.json")
        except (OSError, ValueError):
            self._records.pop(name, None)
            return None
        record = self._record(name, (status.st_ino, status.st_size, status.st_mtime_ns))
        return None if record.complaint else record.row

    def stamps(self) -> dict[str, Stamp]:
        """Stamp of every row.json, by the name of its folder; hidden folders are not runs."""
        found = {}
        for name in os.listdir(self.runs):
            if not name.startswith("."):
                try:
                    status = os.stat(f"{self._prefix}{name}/row.json")
                except OSError:
                    continue
                found[name] = status.st_ino, status.st_size, status.st_mtime_ns
        return found

    def records(self, stamps: Mapping[str, Stamp]) -> list[Record]:
        """A record for each stamp: rows first, oldest first, then the damaged ones by name."""
        for name in self._records.keys() - stamps.keys():
            del self._records[name]
        found = [self._record(name, stamp) for name, stamp in stamps.items()]
        good = sorted((record for record in found if not record.complaint), key=attrgetter("place"))
        return good + sorted((record for record in found if record.complaint), key=attrgetter("complaint"))

    def summary(self, rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
        """As `summarise`; lines of cells whose rows have not changed since the last call are reused."""
        cells = {}
        for cell, group in _by_cell(rows).items():
            known = self._cells.get(cell)
            same = known is not None and len(known[0]) == len(group) and all(map(_is, known[0], group))
            cells[cell] = known if known is not None and same else (group, cell_line(group))
        self._cells = cells
        return [line for _, line in cells.values()]

    def _record(self, name: str, stamp: Stamp) -> Record:
        known = self._records.get(name)
        if known is None or known.stamp != stamp:
            known = self._records[name] = self._read(name, stamp)
        return known

    def _read(self, name: str, stamp: Stamp) -> Record:
        path = self.runs / name / "row.json"
        try:
            row = read_row(path)
        except (OSError, ValueError) as error:
            return Record(stamp, {}, "", printable(f"{path} is damaged and was skipped ({error})"))
        line = csv_line([row[column] for column in TRIAL_COLUMNS])
        return Record(stamp, row, line, place=(row["finished_utc"], row["run_id"]))


def summarise(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """One line per cell (equal configuration but for seed and fold), in order of first appearance; see `cell_line`."""
    return [cell_line(group) for group in _by_cell(rows).values()]


def cell_line(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The line of `summary.csv` for the rows of a cell.

    `trials`: number of finished ones, `failed`: of failed ones, which enter no mean. For `test` and `val`: mean, std
    (unbiased) and the half-width of the mean's 95 % confidence interval (Student's t); nan below two trials.
    `baseline_mean`: the metric of a constant prediction on the same test parts. `epochs_min` and `epochs_max`: epochs
    that trials trained; `seconds_mean`: mean time of their training and evaluation.
    """
    done = [row for row in rows if row["status"] == "done"]
    line: dict[str, Any] = {name: rows[0][name] for name in CELL_COLUMNS}
    line |= {"trials": len(done), "failed": len(rows) - len(done)}
    for part in ("test", "val"):
        values = _numbers(done, f"{part}_metric")
        line |= {f"{part}_mean": mean(values), f"{part}_std": std(values), f"{part}_ci95": ci95(values)}
    line["test_integer_mean"] = mean(_numbers(done, "test_metric_integer"))
    line["baseline_mean"] = mean(_numbers(done, "baseline"))
    epochs = [row["epochs"] for row in done]
    line |= {"epochs_min": min(epochs, default=None), "epochs_max": max(epochs, default=None)}
    return line | {"seconds_mean": mean(_numbers(done, "seconds")), "cell_hash": rows[0]["cell_hash"]}


def _by_cell(rows: Iterable[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(row["cell_hash"], []).append(row)
    return groups


def _numbers(rows: Sequence[Mapping[str, Any]], name: str) -> list[float]:
    return [float(row[name]) for row in rows if row[name] is not None]


def _is(one: object, other: object) -> bool:
    return one is other
