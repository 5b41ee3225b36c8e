"""Whether a result is better than a constant prediction, and the line that tables print where it is not."""

from __future__ import annotations

import math
from collections.abc import Sequence

from dqrun.analysis.cells import TEST, Cell
from dqrun.analysis.text import format_mean

CONSTANT = {
    "roc_auc": "chance",
    "average_precision": "chance",
    "mae": "the median of the training targets",
    "rmse": "the mean of the training targets",
    "r2": "the mean of the training targets",
}
"""The prediction whose metric is the column `baseline`, in words; of other metrics it is the majority class."""

MOST_LINES = 5
"""Of one kind below a table."""


def no_better(name: str, metric: str, test: float, baseline: float, higher_is_better: bool) -> str:
    """A line on the means of a cell, or empty: it is better, or one of them is not known (nan)."""
    beaten = test > baseline if higher_is_better else test < baseline
    if beaten or math.isnan(test) or math.isnan(baseline):
        return ""
    reached = f"{format_mean(test, math.nan, metric)} against {format_mean(baseline, math.nan, metric)}"
    return f"{name}: no better than {CONSTANT.get(metric, 'the majority class')} ({metric} {reached})"


def few(lines: Sequence[str]) -> list[str]:
    """The first lines, and how many more there are: a sweep of poor settings has hundreds."""
    more = len(lines) - MOST_LINES
    return list(lines) if more <= 1 else [*lines[:MOST_LINES], f"and {more} more are no better"]


def not_beaten(cells: Sequence[Cell]) -> list[str]:
    """A line for each cell that shows the test metric and is no better, a few of them where there are many."""
    lines = []
    for cell in cells:
        if cell.field == TEST and (known := cell.values("baseline")):
            name = cell.label(("dataset", "model", "quant", "method", "plan"))
            baseline = math.fsum(known) / len(known)
            lines.append(no_better(name, cell.metric, cell.mean, baseline, bool(cell.higher_is_better)))
    return few([line for line in lines if line])
