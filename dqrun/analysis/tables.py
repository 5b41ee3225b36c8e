"""Tables as plain text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd

from dqrun.analysis.baselines import no_better
from dqrun.analysis.cells import make_cells
from dqrun.analysis.checks import MOST, distinguishing
from dqrun.analysis.rows import load_runs
from dqrun.analysis.sheets import Sheet, as_text
from dqrun.analysis.text import format_mean, from_csv, text_of
from dqrun.runs.store import Results

NAMES = ["dataset", "model", "quant", "method", "plan"]
"""Columns that name a line."""


def summary_lines(cells: dict[str, Results]) -> pd.DataFrame:
    """The lines of summary.csv that belong to the given cells (cell hash -> its results folder), in that order."""
    frames = []
    for cell, results in cells.items():
        if not (results.root / "summary.csv").exists():  # no trial could be recorded
            continue
        text: dict[str, Callable[[str], Any]] = dict.fromkeys(NAMES, from_csv)
        frame = pd.read_csv(results.root / "summary.csv", keep_default_na=False, na_values=[""], converters=text)
        frames.append(frame[frame["cell_hash"] == cell])
    return pd.concat(frames) if frames else pd.DataFrame()


def told_apart(summary: pd.DataFrame, cells: dict[str, Results]) -> dict[str, str]:
    """By cell hash, the settings in which a cell differs from those with the same names, such as `train.lr=0.01`."""
    if summary.empty or not summary.duplicated(NAMES).any():
        return {}
    alike = summary[summary.duplicated(NAMES, keep=False)]
    runs, _ = load_runs(list(dict.fromkeys(cells[cell].root for cell in alike["cell_hash"])))
    by_hash = {cell.runs[0].row["cell_hash"]: cell for cell in make_cells(runs, [])}
    settings: dict[str, str] = {}
    for _, group in alike.groupby(NAMES, sort=False):
        hashes = [cell for cell in group["cell_hash"] if cell in by_hash]
        found = distinguishing([by_hash[cell] for cell in hashes])
        for i, cell in enumerate(hashes):
            named = [f"{name}={text_of(values[i]) or 'null'}" for name, values in found.items()]
            settings[cell] = " ".join(named[:MOST]) + (" ..." if len(named) > MOST else "")
    return settings


def format_table(summary: pd.DataFrame, settings: dict[str, str] | None = None) -> str:
    """A summary frame as text: one line per cell, mean and 95 % confidence interval of the test metric; below the table
    a line for each cell that is no better than a constant prediction.

    `settings`: by cell hash, what tells cells of the same names apart.
    """
    lines: list[dict[str, Any]] = []
    for _, cell in summary.iterrows():
        failed = f" ({cell['failed']} failed)" if cell["failed"] else ""
        lines.append(
            {
                **{name: cell[name] for name in NAMES},
                **({"settings": settings.get(cell["cell_hash"], "")} if settings else {}),
                "metric": cell["metric"],
                "test mean +- 95 % CI": format_mean(cell["test_mean"], cell["test_ci95"], cell["metric"]),
                "validation": format_mean(cell["val_mean"], float("nan"), cell["metric"]),
                "trials": f"{cell['trials']}{failed}",
                "s/trial": "-" if pd.isna(cell["seconds_mean"]) else f"{cell['seconds_mean']:.1f}",
            }
        )
    notes = [note for _, cell in summary.iterrows() if (note := _no_better(cell))]
    return "\n".join([align(lines), *notes])


def _no_better(cell: pd.Series) -> str:
    """A line where the mean of a cell is no better than a constant prediction, else empty."""
    name = " ".join(str(cell[name]) for name in NAMES if cell[name] != "none")
    return no_better(name, cell["metric"], cell["test_mean"], cell["baseline_mean"], bool(cell["higher_is_better"]))


def align(lines: list[dict[str, Any]]) -> str:
    """Records as left-aligned columns under a header."""
    if not lines:
        return "no trials"
    return as_text(Sheet(list(lines[0]), [[str(value) for value in line.values()] for line in lines]))
