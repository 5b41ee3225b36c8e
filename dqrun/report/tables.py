"""Tables as plain text."""

from __future__ import annotations

from typing import Any

import pandas as pd

from dqrun.report.text import format_mean
from dqrun.results import Results


def summary_lines(cells: dict[str, Results]) -> pd.DataFrame:
    """The lines of summary.csv that belong to the given cells (cell hash -> its results folder), in that order."""
    frames = []
    for cell, results in cells.items():
        if not (results.root / "summary.csv").exists():  # no trial could be recorded
            continue
        frame = pd.read_csv(results.root / "summary.csv", keep_default_na=False, na_values=[""])
        frames.append(frame[frame["cell_hash"] == cell])
    return pd.concat(frames) if frames else pd.DataFrame()


def format_table(summary: pd.DataFrame) -> str:
    """A summary frame as text: one line per cell, mean and 95 % confidence interval of the test metric."""
    lines: list[dict[str, Any]] = []
    for _, cell in summary.iterrows():
        failed = f" ({cell['failed']} failed)" if cell["failed"] else ""
        lines.append(
            {
                "dataset": cell["dataset"],
                "model": cell["model"],
                "quant": cell["quant"],
                "method": cell["method"],
                "plan": cell["plan"],
                "metric": cell["metric"],
                "test mean +- 95 % CI": format_mean(cell["test_mean"], cell["test_ci95"], cell["metric"]),
                "validation": format_mean(cell["val_mean"], float("nan"), cell["metric"]),
                "trials": f"{cell['trials']}{failed}",
                "s/trial": f"{cell['seconds']:.1f}",
            }
        )
    return align(lines)


def align(lines: list[dict[str, Any]]) -> str:
    """Records as left-aligned columns under a header."""
    if not lines:
        return "no trials"
    rows = [list(lines[0]), *([str(value) for value in line.values()] for line in lines)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
