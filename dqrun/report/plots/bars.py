"""`dqrun plot bars`: mean test metrics with their spread, and each trial as a dot."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from dqrun.report.cells import Cell
from dqrun.report.order import ordered_labels
from dqrun.report.plots.style import by_label, explain, legend, looks, metric_label, panels
from dqrun.report.text import unit_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from dqrun.report.plots.style import Look


def draw(cells: Sequence[Cell], rows: Sequence[str], columns: Sequence[str], spread: str = "ci95") -> Figure:
    """A panel per metric, a group of bars per line of the table, a bar per configuration.

    `spread`: ci95 (of the mean) or std (of the trials).
    """
    metrics = list(dict.fromkeys(cell.metric for cell in cells))
    groups = len({tuple(cell.text(name) for name in rows) for cell in cells})
    width = max(4.5, 0.28 * len(cells) + 0.5 * groups + 1.0)
    figure, grid = panels(len(metrics), 1, width, 2.8)
    style, order = looks(cells, columns), ordered_labels(cells, columns)
    for (panel,), metric in zip(grid, metrics, strict=True):
        _panel(panel, [cell for cell in cells if cell.metric == metric], rows, columns, spread, style, order)
    legend(figure, [line[0] for line in grid])
    what = "95 % interval of the mean" if spread == "ci95" else "standard deviation"
    explain(figure, f"bars: mean, {what}; dots: trials")
    return figure


def _panel(
    panel: Axes,
    cells: Sequence[Cell],
    rows: Sequence[str],
    columns: Sequence[str],
    spread: str,
    style: dict[str, Look],
    order: Sequence[str],
) -> None:
    metric = cells[0].metric
    scale = unit_of(metric)[0]
    position, ticks, names, top = 0.0, [], [], 0.0
    for group in sorted({tuple(cell.text(name) for name in rows) for cell in cells}):
        here = [cell for cell in cells if tuple(cell.text(name) for name in rows) == group]
        start = position
        for label, name, cell in by_label(here, columns, order):
            look = style[label]
            half = cell.ci95 if spread == "ci95" else cell.std
            error = None if math.isnan(half) else [[min(half, cell.mean) * scale], [half * scale]]
            panel.bar(
                position, cell.mean * scale, 0.85, color=look.color, alpha=0.6, label=name,
                yerr=error, error_kw={"elinewidth": 1.4, "capsize": 3, "ecolor": "#000000", "zorder": 4},
            )  # fmt: skip
            values = [value * scale for value in cell.values()]
            offsets = [position + 0.6 * ((i + 0.5) / len(values) - 0.5) for i in range(len(values))]
            panel.scatter(offsets, values, s=6, color="white", edgecolors="#555555", linewidths=0.4, zorder=3)
            reach = cell.mean + (0.0 if math.isnan(half) else min(half, 0.5 * cell.mean))
            top = max(top, *values, reach * scale) if values else top
            position += 1.0
        ticks.append((start + position - 1.0) / 2)
        names.append("\n".join(group))
        position += 0.7
    panel.set_xticks(ticks, names)
    panel.grid(axis="x", visible=False)
    panel.set_ylim(0, min(top * 1.06, 100.0) if metric == "accuracy" else top * 1.06)
    panel.set_ylabel(metric_label(metric))
