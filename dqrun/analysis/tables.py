"""Tables as plain text."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from dqrun.analysis.baselines import few, no_better
from dqrun.analysis.cells import Cell
from dqrun.analysis.checks import MOST, distinguishing
from dqrun.analysis.rows import Run
from dqrun.analysis.sheets import Sheet, as_text
from dqrun.analysis.text import format_mean, text_of
from dqrun.runs.store import Results

NAMES = ["dataset", "model", "quant", "method", "plan"]
"""Columns that name a line."""


def summary_lines(cells: Mapping[str, Results]) -> list[dict[str, Any]]:
    """The lines of summary.csv that belong to the given cells (cell hash -> its results folder), in that order."""
    folders = {results.root: results for results in cells.values()}
    found = {root: {line["cell_hash"]: line for line in results.summary()} for root, results in folders.items()}
    return [found[results.root][cell] for cell, results in cells.items() if cell in found[results.root]]


def told_apart(lines: Sequence[Mapping[str, Any]], cells: Mapping[str, Results]) -> dict[str, str]:
    """By cell hash, the settings in which a cell differs from those with the same names, such as `train.lr=0.01`."""
    groups: dict[tuple[Any, ...], list[str]] = {}
    for line in lines:
        groups.setdefault(tuple(line[name] for name in NAMES), []).append(line["cell_hash"])
    alike = [hashes for hashes in groups.values() if len(hashes) > 1]
    trials = _trials({cell: cells[cell] for hashes in alike for cell in hashes})
    settings: dict[str, str] = {}
    for hashes in alike:
        found = distinguishing([Cell(tuple(trials[cell])) for cell in hashes])
        for i, cell in enumerate(hashes):
            named = [f"{name}={text_of(values[i]) or 'null'}" for name, values in found.items()]
            settings[cell] = " ".join(named[:MOST]) + (" ..." if len(named) > MOST else "")
    return settings


def _trials(cells: Mapping[str, Results]) -> dict[str, list[Run]]:
    """The trials of cells that have a line in the summary; each results folder is read once."""
    found: dict[str, list[Run]] = {cell: [] for cell in cells}
    for results in {results.root: results for results in cells.values()}.values():
        for row in results.read_rows()[0]:
            cell = row["cell_hash"]
            if cell in cells and cells[cell].root == results.root:
                found[cell].append(Run(row, results.runs / row["run_id"]))
    return found


def format_table(lines: Sequence[Mapping[str, Any]], settings: Mapping[str, str] | None = None) -> str:
    """Lines of the summary as text: mean and 95 % confidence interval of the test metric; below the table a line for
    each cell that is no better than a constant prediction.

    `settings`: by cell hash, what tells cells of the same names apart.
    """
    shown: list[dict[str, Any]] = []
    for line in lines:
        failed = f" ({line['failed']} failed)" if line["failed"] else ""
        shown.append(
            {
                **{name: line[name] for name in NAMES},
                **({"settings": settings.get(line["cell_hash"], "")} if settings else {}),
                "metric": line["metric"],
                "test mean +- 95 % CI": format_mean(line["test_mean"], line["test_ci95"], line["metric"]),
                "validation": format_mean(line["val_mean"], math.nan, line["metric"]),
                "trials": f"{line['trials']}{failed}",
                "s/trial": "-" if math.isnan(line["seconds_mean"]) else f"{line['seconds_mean']:.1f}",
            }
        )
    return "\n".join([align(shown), *few([text for text in map(_no_better, lines) if text])])


def _no_better(line: Mapping[str, Any]) -> str:
    """A sentence where the mean of a cell is no better than a constant prediction, else empty."""
    name = " ".join(str(line[name]) for name in NAMES if line[name] != "none")
    return no_better(name, line["metric"], line["test_mean"], line["baseline_mean"], line["higher_is_better"])


def align(lines: list[dict[str, Any]]) -> str:
    """Records as left-aligned columns under a header."""
    if not lines:
        return "no trials"
    return as_text(Sheet(list(lines[0]), [[str(value) for value in line.values()] for line in lines]))
