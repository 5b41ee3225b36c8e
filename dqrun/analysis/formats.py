"""A comparison as terminal tables, Markdown, LaTeX, CSV or JSON."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from dqrun.analysis.cells import Cell
from dqrun.analysis.comparison import (
    SPREADS,
    Comparison,
    best_of,
    by_place,
    difference_sheet,
    main_sheet,
    published_sheet,
)
from dqrun.analysis.files import write_atomically
from dqrun.analysis.published import Match
from dqrun.analysis.sheets import Sheet, as_latex, as_markdown, as_text, wrapped
from dqrun.analysis.significance import Difference
from dqrun.analysis.text import for_csv, text_of
from dqrun.errors import printable
from dqrun.runs.intervals import ci95, mean, std

FORMATS = ("table", "csv", "markdown", "latex", "json")
SUFFIXES = {".csv": "csv", ".md": "markdown", ".tex": "latex", ".json": "json"}

CSV_NOTE = (
    "A line is a configuration and a column of the rows, which field names. mean, std (unbiased, over trials) and ci95 "
    "(half-width of the 95 % interval of the mean, Student's t) are over as many trials as values says; seconds_mean "
    "is of training and evaluation; epochs_min and epochs_max: epochs that trials trained. Accuracies are shares of 1."
)

IDENTITY = (
    "dataset", "task", "model", "quant", "weight_bits", "activation_bits", "method", "estimator", "observer", "p_min",
    "p_max", "plan", "protocol", "metric", "higher_is_better",
)  # fmt: skip
"""What a line of the CSV says of a configuration: the first columns of summary.csv."""


def render(
    comparison: Comparison, form: str, spread: str = "ci95", color: bool = False, warnings: Sequence[str] = ()
) -> str:
    """The comparison in one of FORMATS, without a last line break.

    `warnings`: lines for a table that is read on its own. JSON always holds the comparison's own.
    """
    if form == "csv":
        return as_csv(comparison)
    if form == "json":
        return as_json(comparison, warnings)
    if form == "table":  # the meaning of +- is printed on stderr, so that stdout has the table alone
        return "\n\n".join(as_text(sheet, color) for sheet in sheets(comparison, spread))
    main, *others = sheets(comparison, spread)
    explained = [replace(main, notes=[SPREADS[spread], *main.notes]), *others]
    return as_markdown(explained, warnings) if form == "markdown" else as_latex(explained, warnings)


def write(path: Path, comparison: Comparison, form: str, spread: str, warnings: Sequence[str]) -> None:
    """Writes a file with the meaning of +- and the warnings; for CSV these go to `FILE.notes.txt`.

    Raises ResultsError if it cannot be written.
    """
    text = render(comparison, form, spread, warnings=warnings) + "\n"
    if form == "csv":
        notes = "\n".join(wrapped([CSV_NOTE, *main_sheet(comparison).notes, *warnings]))
        write_atomically(path.with_name(f"{path.name}.notes.txt"), f"{notes}\n".encode())
    if form == "table":
        text += "\n".join(["", *wrapped([SPREADS[spread], *warnings]), ""])
    write_atomically(path, text.encode())


def sheets(comparison: Comparison, spread: str = "ci95") -> list[Sheet]:
    """The main table, and those of differences and published numbers on request."""
    found = [main_sheet(comparison, spread)]
    if comparison.differences is not None:
        found.append(difference_sheet(comparison))
    if comparison.published is not None:
        found.append(published_sheet(comparison))
    return found


def as_csv(comparison: Comparison) -> str:
    """One line per configuration and column shown; with published numbers, one for each of these too."""
    by_cell = {id(each.cell): each for each in comparison.differences or []}
    lines = []
    for cell, best in zip(comparison.cells, _best(comparison), strict=True):
        line = cell_record(cell, comparison) | {"best": best}
        if comparison.differences is not None:
            line |= _difference_columns(by_cell.get(id(cell)))
        if comparison.published is None:
            lines.append(line)
            continue
        found = [match for match in comparison.published if match.cell is cell]
        lines += [line | _published_columns(match) for match in found] or [line | _published_columns(None)]
    file = io.StringIO()
    writer = csv.DictWriter(file, list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _plain(value) for name, value in line.items()} for line in lines)
    return file.getvalue().rstrip("\n")


def as_json(comparison: Comparison, warnings: Sequence[str] = ()) -> str:
    """Cells with the value of each row, differences, published numbers, notes and warnings; nan becomes null."""
    number = {id(cell): i for i, cell in enumerate(comparison.cells)}
    cells = []
    for cell, best in zip(comparison.cells, _best(comparison), strict=True):
        finished = [run for replicates in cell.done.values() for run in replicates]
        trials = [{"run_id": run.row["run_id"], cell.field: run.value(cell.field)} for run in finished]
        cells.append(cell_record(cell, comparison) | {"best": best, "runs": trials})
    tree: dict[str, Any] = {"rows": comparison.rows, "columns": comparison.columns, "cells": cells}
    if comparison.differences is not None:
        tree["tests"] = "two-sided paired t-test and Wilcoxon signed-rank test; Holm's correction over all differences"
        tree["differences"] = [
            {"cell": number[id(each.cell)], "baseline": number[id(each.baseline)]} | _numbers(each)
            for each in comparison.differences
        ]
    if comparison.published is not None:
        tree["published"] = [
            {"cell": number[id(match.cell)], "difference": match.difference, **asdict(match.published)}
            for match in comparison.published
        ]
    tree["notes"] = [CSV_NOTE, *main_sheet(comparison).notes]
    tree["warnings"] = list(dict.fromkeys([*warnings, *comparison.warnings]))
    return json.dumps(_without_nan(tree), indent=1)


def cell_record(cell: Cell, comparison: Comparison) -> dict[str, Any]:
    """A configuration and its statistics, unrounded: the columns of summary.csv, and the fields that were shown.

    `field`: the column of the rows to which `values` (their number), `mean`, `std`, `ci95` and `best` refer.
    """
    run = cell.runs[0]
    record = {name: run.row.get(name) for name in IDENTITY}
    record |= {name: run.value(name) for name in [*comparison.rows, *comparison.columns] if name not in record}
    record |= {"trials": len(cell.done), "failed": cell.failed}
    for part in ("test", "val"):
        values = cell.values(f"{part}_metric")
        record |= {f"{part}_mean": mean(values), f"{part}_std": std(values), f"{part}_ci95": ci95(values)}
    epochs = cell.values("epochs")
    record |= {"epochs_min": min(epochs, default=math.nan), "epochs_max": max(epochs, default=math.nan)}
    record |= {"seconds_mean": mean(cell.values("seconds"))}
    record |= {"field": cell.field, "values": len(cell.values())}
    return record | {"mean": cell.mean, "std": cell.std, "ci95": cell.ci95, "cell_hash": run.row["cell_hash"]}


def _best(comparison: Comparison) -> list[bool]:
    """Whether each cell is in bold in the main table."""
    lines: dict[tuple[str, ...], list[Cell]] = {}
    for (row, _), cells in by_place(comparison.cells, comparison.rows, comparison.columns).items():
        lines.setdefault(row, []).extend(cells)
    best = {id(cell) for cells in lines.values() for cell in best_of(cells)}
    return [id(cell) in best for cell in comparison.cells]


def _numbers(each: Difference) -> dict[str, Any]:
    names = ("pairs", "mean", "ci95", "p_t", "p_t_holm", "p_wilcoxon", "p_wilcoxon_holm")
    budget = {"max_epochs": each.budgets[0], "baseline_max_epochs": each.budgets[1]}
    return {name: getattr(each, name) for name in names} | budget | {"is_equal_budget": each.is_equal_budget}


def _difference_columns(each: Difference | None) -> dict[str, Any]:
    names = ("pairs", "difference_mean", "difference_ci95", "p_t", "p_t_holm", "p_wilcoxon", "p_wilcoxon_holm")
    budget = ("max_epochs", "baseline_max_epochs", "is_equal_budget")
    values = (None,) * 10 if each is None else _numbers(each).values()
    columns = dict(zip((*names, *budget), values, strict=True))
    return {"baseline_cell_hash": None if each is None else each.baseline.text("cell_hash"), **columns}


def _published_columns(match: Match | None) -> dict[str, Any]:
    names = ("mean", "std", "mark", "source", "table", "label", "note")
    columns = {f"published_{name}": getattr(match.published, name) if match else None for name in names}
    return columns | {"published_difference": match.difference if match else None}


def _plain(value: object) -> object:
    if isinstance(value, list):
        value = text_of(value)
    return "" if value is None or value != value else for_csv(printable(value) if isinstance(value, str) else value)


def _without_nan(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {name: _without_nan(value) for name, value in tree.items()}
    if isinstance(tree, list):
        return [_without_nan(value) for value in tree]
    return None if isinstance(tree, float) and not math.isfinite(tree) else tree
