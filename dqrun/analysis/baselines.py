"""Compares results with a constant prediction; tables print a line for each that is not better."""

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
    """A line if the mean `test` of a cell is no better than `baseline`; else, and if one is unknown (nan), empty."""
    beaten = test > baseline if higher_is_better else test < baseline
    if beaten or math.isnan(test) or math.isnan(baseline):
        return ""
    reached = f"{format_mean(test, math.nan, metric)} against {format_mean(baseline, math.nan, metric)}"
    return f"{name}: no better than {CONSTANT.get(metric, 'the majority class')} ({metric} {reached})"


def few(lines: Sequence[str]) -> list[str]:
    """The first lines and the number of further ones, because a sweep of poor settings may have hundreds."""
    more = len(lines) - MOST_LINES
    return list(lines) if more <= 1 else [*lines[:MOST_LINES], f"and {more} more are no better"]


def not_beaten(cells: Sequence[Cell]) -> list[str]:
    """Lines for cells of the test metric that are no better than a constant prediction; at most a few."""
    lines = []
    for cell in cells:
        if cell.field == TEST and (known := cell.values("baseline")):
            name = cell.label(("dataset", "model", "quant", "method", "plan"))
            baseline = math.fsum(known) / len(known)
            lines.append(no_better(name, cell.metric, cell.mean, baseline, bool(cell.higher_is_better)))
    return few([line for line in lines if line])
