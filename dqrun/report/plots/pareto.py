"""`dqrun plot pareto`: the test metric against what a network costs, with the Pareto front."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dqrun.report.cells import Cell
from dqrun.report.order import ordered_labels
from dqrun.report.plots.style import MARKERS, explain, legend, looks, metric_label, panels
from dqrun.report.text import unit_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from dqrun.report.plots.style import Look


@dataclass(frozen=True)
class Cost:
    """A cost on the horizontal axis: `factor` turns its number into the unit of the label."""

    label: str
    factor: float = 1.0
    ticks: tuple[float, ...] = ()  # none: the scale's own
    note: str = ""  # how it is counted


COSTS = {
    "bits": Cost("Mean width of weights and activations (bits)", ticks=(2, 4, 8, 16, 32)),
    "bytes": Cost("Model size (kB)", 1e-3),
    "bitops": Cost("Bit-operations per graph (10⁶)", 1e-6, note="MACs x mean width of the operands"),
    "bitops_product": Cost("Bit-operations per graph (10⁶)", 1e-6, note="MACs x width x width"),
    "latency": Cost("Latency (ms)", 1e3),
}
ROOM = 1.6  # factor beyond the outer points: some tick of 1, 2, 5, 10, ... is then always in sight
Point = tuple[float, float]


def pareto_front(points: Sequence[Point], higher_is_better: bool) -> list[Point]:
    """The points (cost, metric) that no other beats in one without losing in the other, by rising cost."""
    sign = 1 if higher_is_better else -1
    front: list[Point] = []
    for cost, metric in sorted(set(points), key=lambda point: (point[0], -sign * point[1])):
        if not front or sign * metric > sign * front[-1][1]:
            front.append((cost, metric))
    return front


def draw(
    cells: Sequence[Cell], values: Sequence[float], cost: Cost, rows: Sequence[str], columns: Sequence[str]
) -> Figure:
    """A panel per dataset and metric; colour: configuration, marker: what is left of the row's fields (the model).

    `values`: the cost of each cell, finite.
    """
    groups = sorted({(cell.text("dataset"), cell.metric) for cell in cells})
    across = min(3, len(groups))
    figure, grid = panels(math.ceil(len(groups) / across), across, 3.6, 2.9)
    flat = [panel for line in grid for panel in line]
    style = looks(cells, columns)
    rest = [name for name in rows if name != "dataset"]
    kinds = sorted({cell.label(rest) for cell in cells})
    cost_of = {id(cell): value * cost.factor for cell, value in zip(cells, values, strict=True)}
    for panel, group in zip(flat, groups, strict=False):
        here = [cell for cell in cells if (cell.text("dataset"), cell.metric) == group]
        scale = unit_of(group[1])[0]
        points = [(cost_of[id(cell)], cell.mean * scale) for cell in here]
        _front(panel, pareto_front(points, bool(here[0].higher_is_better)))
        for cell, (x, y) in zip(here, points, strict=True):
            marker, color = MARKERS[kinds.index(cell.label(rest)) % len(MARKERS)], style[cell.label(columns)].color
            error = None if math.isnan(cell.ci95) else cell.ci95 * scale
            panel.errorbar(x, y, yerr=error, fmt=marker, color=color, markersize=6, elinewidth=1, capsize=2)
        _axes(panel, points, group, cost)
    for panel in flat[len(groups) :]:
        panel.set_visible(False)
    _name(flat[0], ordered_labels(cells, columns), style, kinds)
    legend(figure, flat[:1])
    counted = f"; bit-operations: {cost.note}" if cost.note else ""
    explain(figure, f"points: mean, 95 % interval (cut where it leaves the panel); grey: Pareto front{counted}")
    return figure


def _front(panel: Axes, front: Sequence[Point]) -> None:
    """Steps: at each cost the best that is to be had for it."""
    xs, ys = zip(*front, strict=True)
    panel.step(xs, ys, where="post", color="#999999", linewidth=3, alpha=0.5, zorder=1)


def _axes(panel: Axes, points: Sequence[Point], group: tuple[str, str], cost: Cost) -> None:
    """Limits follow the means: an interval over two trials would hide all else."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

    ys = [y for _, y in points]
    margin = 0.12 * (max(ys) - min(ys)) or 0.05 * abs(max(ys)) or 1.0
    panel.set_ylim(min(ys) - margin, max(ys) + margin)
    xs = [x for x, _ in points]
    if min(xs) > 0:  # a field of the rows may be anything
        panel.set_xscale("log")
        panel.set_xlim(min(xs) / ROOM, max(xs) * ROOM)
        panel.xaxis.set_major_locator(FixedLocator(cost.ticks) if cost.ticks else LogLocator(subs=(1.0, 2.0, 5.0)))
        panel.xaxis.set_major_formatter(FuncFormatter(lambda tick, _: f"{tick:g}"))
        panel.xaxis.set_minor_locator(NullLocator())
    panel.set_title(group[0], loc="left", fontweight="bold")
    panel.set_xlabel(cost.label)
    panel.set_ylabel(metric_label(group[1]))


def _name(panel: Axes, order: Sequence[str], style: dict[str, Look], kinds: Sequence[str]) -> None:
    """Entries of the legend: a colour per configuration, a marker per model."""
    for label in order:
        panel.plot([], [], "s", color=style[label].color, label=label or "all")
    if len(kinds) > 1:
        for i, kind in enumerate(kinds):
            panel.plot([], [], MARKERS[i % len(MARKERS)], color="#777777", fillstyle="none", label=kind)
