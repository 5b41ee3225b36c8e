"""A comparison as terminal tables, Markdown, LaTeX, CSV or JSON."""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import asdict, replace
from typing import Any

from dqrun.errors import printable
from dqrun.report.cells import Cell, ci95, mean, std
from dqrun.report.comparison import (
    SPREADS,
    Comparison,
    best_of,
    by_place,
    difference_sheet,
    main_sheet,
    published_sheet,
)
from dqrun.report.published import Match
from dqrun.report.sheets import Sheet, as_latex, as_markdown, as_text
from dqrun.report.significance import Difference
from dqrun.report.text import for_csv, text_of

FORMATS = ("table", "csv", "markdown", "latex", "json")
SUFFIXES = {".csv": "csv", ".md": "markdown", ".tex": "latex", ".json": "json"}

IDENTITY = (
    "dataset", "task", "model", "quant", "weight_bits", "activation_bits", "method", "estimator", "observer", "p_min",
    "p_max", "plan", "protocol", "metric", "higher_is_better",
)  # fmt: skip
"""What a line of the CSV says of a configuration: the first columns of summary.csv."""


def render(comparison: Comparison, form: str, spread: str = "ci95", color: bool = False) -> str:
    """The comparison in one of FORMATS, without a last line break."""
    if form == "csv":
        return as_csv(comparison)
    if form == "json":
        return as_json(comparison)
    if form == "table":  # what +- means is said on stderr, so that the table alone can be piped on
        return "\n\n".join(as_text(sheet, color) for sheet in sheets(comparison, spread))
    main, *others = sheets(comparison, spread)
    write = {"markdown": as_markdown, "latex": as_latex}[form]
    return "\n\n".join(write(sheet) for sheet in (replace(main, notes=[SPREADS[spread]]), *others))


def sheets(comparison: Comparison, spread: str = "ci95") -> list[Sheet]:
    """The main table, and the ones that were asked for."""
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


def as_json(comparison: Comparison) -> str:
    """Cells with the value of each trial, differences, published numbers and warnings; nan becomes null."""
    number = {id(cell): i for i, cell in enumerate(comparison.cells)}
    cells = []
    for cell, best in zip(comparison.cells, _best(comparison), strict=True):
        trials = [{"run_id": run.row["run_id"], cell.field: run.row.get(cell.field)} for run in cell.done]
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
    return json.dumps(_without_nan(tree | {"warnings": list(comparison.warnings)}), indent=1)


def cell_record(cell: Cell, comparison: Comparison) -> dict[str, Any]:
    """A configuration and its statistics, unrounded: the columns of summary.csv, and the fields that were shown.

    `field` is the column of the rows that `values` (their number), `mean`, `std`, `ci95` and `best` are of.
    """
    run = cell.runs[0]
    record = {name: run.row.get(name) for name in IDENTITY}
    record |= {name: run.value(name) for name in [*comparison.rows, *comparison.columns] if name not in record}
    record |= {"trials": len(cell.done), "failed": cell.failed}
    for part in ("test", "val"):
        values = cell.values(f"{part}_metric")
        record |= {f"{part}_mean": mean(values), f"{part}_std": std(values), f"{part}_ci95": ci95(values)}
    record |= {"epochs": max(cell.values("epochs"), default=math.nan), "seconds": mean(cell.values("seconds"))}
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
    return {name: getattr(each, name) for name in names}


def _difference_columns(each: Difference | None) -> dict[str, Any]:
    blank = dict.fromkeys(
        ("pairs", "difference_mean", "difference_ci95", "p_t", "p_t_holm", "p_wilcoxon", "p_wilcoxon_holm")
    )
    if each is None:
        return {"baseline_cell_hash": None, **blank}
    numbers = dict(zip(blank, _numbers(each).values(), strict=True))
    return {"baseline_cell_hash": each.baseline.text("cell_hash"), **numbers}


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
