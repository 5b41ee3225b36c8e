"""`dqrun compare [DIR ...]`: the means of all trials so far, one table per dataset and metric."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from dqrun.errors import ConfigError, ResultsError
from dqrun.report.tables import align, format_mean
from dqrun.results import TRIAL_COLUMNS, Results, summarise

FIELDS = (
    "dataset",
    "task",
    "model",
    "quant",
    "method",
    "estimator",
    "observer",
    "p_min",
    "p_max",
    "plan",
    "protocol",
    "epochs",
)
DEFAULT_ROWS, DEFAULT_COLUMNS = "dataset,model", "quant,method"


def main(argv: Sequence[str]) -> int:
    """Prints the comparison; `-o FILE` also writes the underlying lines as CSV. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="dqrun compare", description="compares the trials recorded so far")
    parser.add_argument(
        "dirs", nargs="*", default=["results"], metavar="DIR", help="results folders (default: results)"
    )
    parser.add_argument("--rows", default=DEFAULT_ROWS, help=f"fields that make a row (default: {DEFAULT_ROWS})")
    parser.add_argument(
        "--cols", default=DEFAULT_COLUMNS, help=f"fields that make a column (default: {DEFAULT_COLUMNS})"
    )
    parser.add_argument("-o", "--output", metavar="FILE", help="write the summary lines to a CSV file")
    arguments = parser.parse_args(argv)
    summary = summarise(read_trials(arguments.dirs))
    if arguments.output:
        summary.to_csv(arguments.output, index=False)
    print(compare(summary, split_fields("--rows", arguments.rows), split_fields("--cols", arguments.cols)))
    return 0


def split_fields(option: str, text: str) -> list[str]:
    """Field names from a comma list; raises ConfigError for an unknown one."""
    names = text.split(",")
    for name in names:
        if name not in FIELDS:
            raise ConfigError.rule(option, f"name fields among {', '.join(FIELDS)}", name)
    return names


def read_trials(dirs: Sequence[str]) -> pd.DataFrame:
    """All rows of the given results folders, each run once; raises ResultsError where there is none."""
    rows: dict[str, dict[str, object]] = {}
    for folder in dirs:
        if not (Path(folder) / "runs").is_dir():
            raise ResultsError(f"no results in {folder!r}: it has no folder runs/")
        found, complaints = Results(folder).read_rows()
        for complaint in complaints:
            print(complaint)
        rows |= {str(row["run_id"]): row for row in found}
    if not rows:
        raise ResultsError(f"no finished trials in {', '.join(dirs)}")
    return pd.DataFrame(list(rows.values()), columns=[*TRIAL_COLUMNS, "cell_hash"])


def compare(summary: pd.DataFrame, rows: list[str], columns: list[str]) -> str:
    """A table with the mean test metric, its 95 % confidence interval and the number of trials in each cell.

    Where several configurations fall into one cell, each has a line of its own, so that no mean mixes them.
    """
    table: dict[tuple[str, ...], dict[str, list[str]]] = {}
    headers: list[str] = []
    for _, cell in summary.iterrows():
        row = tuple(_text(cell[name]) for name in [*rows, "metric"])
        header = " ".join(text for name in columns if (text := _text(cell[name])) not in ("", "none"))
        headers += [] if header in headers else [header]
        failed = f", {cell['failed']} failed" if cell["failed"] else ""
        value = f"{format_mean(cell['test_mean'], cell['test_ci95'], cell['metric'])} ({cell['trials']}{failed})"
        table.setdefault(row, {}).setdefault(header, []).append(value)
    lines = []
    for row, cells in sorted(table.items()):
        for i in range(max(map(len, cells.values()))):
            line = dict(zip([*rows, "metric"], row, strict=True))
            line |= {header: cells[header][i] if i < len(cells.get(header, [])) else "" for header in headers}
            lines.append(line)
    return align(lines)


def _text(value: object) -> str:
    return "" if value is None or value != value else str(value)
