"""`dqrun plot bars`: mean test metrics with their spread, and each trial as a dot."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dqrun.analysis.cells import Cell
from dqrun.analysis.order import natural
from dqrun.analysis.plots.series import Series, selected
from dqrun.analysis.plots.style import explain, legend, metric_label, panels
from dqrun.analysis.text import for_picture, unit_of
from dqrun.config.tasks import FRACTIONS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw(
    cells: Sequence[Cell], rows: Sequence[str], columns: Sequence[str], spread: str = "ci95"
) -> tuple[Figure, list[str]]:
    """A panel per metric, a group of bars per line of the table, a bar per configuration; and warnings.

    `spread`: ci95 (of the mean) or std (of the trials).
    """
    cells, warnings = selected(cells, rows, columns)
    metrics = list(dict.fromkeys(cell.metric for cell in cells))
    groups = len({tuple(cell.text(name) for name in rows) for cell in cells})
    width = max(4.5, 0.28 * len(cells) + 0.5 * groups + 1.0)
    figure, grid = panels(len(metrics), 1, width, 2.8)
    series = Series(cells, rows, columns)
    handles: dict[str, Any] = {}
    for (panel,), metric in zip(grid, metrics, strict=True):
        handles |= _panel(panel, [cell for cell in cells if cell.metric == metric], rows, spread, series)
    legend(figure, {name: handles[name] for name in series.looks})
    what = "95 % interval of the mean" if spread == "ci95" else "standard deviation"
    explain(figure, f"bars: mean, {what}; dots: trials")
    return figure, warnings


def _panel(panel: Axes, cells: Sequence[Cell], rows: Sequence[str], spread: str, series: Series) -> dict[str, Any]:
    """Draws the bars; returns one of each series by name."""
    metric, handles = cells[0].metric, {}
    position, ticks, names, top = 0.0, [], [], 0.0
    for group in sorted({tuple(cell.text(name) for name in rows) for cell in cells}, key=natural):
        start = position
        for cell in series.sorted([c for c in cells if tuple(c.text(name) for name in rows) == group]):
            handles[series.name(cell)], reach = _bar(panel, position, cell, spread, series)
            top = max(top, reach)
            position += 1.0
        ticks.append((start + position - 1.0) / 2)
        names.append("\n".join(map(for_picture, group)))
        position += 0.7
    panel.set_xticks(ticks, names)
    panel.grid(axis="x", visible=False)
    top = top * 1.06 or 1.0
    panel.set_ylim(0, min(top, 100.0) if metric in FRACTIONS else top)
    panel.set_ylabel(metric_label(metric))
    return handles


def _bar(panel: Axes, position: float, cell: Cell, spread: str, series: Series) -> tuple[Any, float]:
    """The bar and how high it, its interval and its dots reach; an interval longer than half the bar may be cut."""
    scale, look = unit_of(cell.metric)[0], series.look(cell)
    half = cell.ci95 if spread == "ci95" else cell.std
    error = None if math.isnan(half) else [[min(half, cell.mean) * scale], [half * scale]]
    bar = panel.bar(
        position, cell.mean * scale, 0.85, color=look.color, alpha=0.75, hatch=look.hatch, edgecolor="white",
        yerr=error, error_kw={"elinewidth": 1.4, "capsize": 3, "ecolor": "#000000", "zorder": 4},
    )  # fmt: skip
    values = [value * scale for value in cell.values()]
    offsets = [position + 0.6 * ((i + 0.5) / len(values) - 0.5) for i in range(len(values))]
    panel.scatter(offsets, values, s=6, color="white", edgecolors="#555555", linewidths=0.4, zorder=3)
    reach = cell.mean + (0.0 if math.isnan(half) else min(half, 0.5 * cell.mean))
    return bar, max(*values, reach * scale)
