"""`dqrun plot pareto`: the test metric against the cost of a network, with the Pareto front."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dqrun.analysis.cells import Cell
from dqrun.analysis.order import natural
from dqrun.analysis.plots.series import Series
from dqrun.analysis.plots.style import explain, legend, metric_label, panels, title
from dqrun.analysis.text import for_picture, unit_of

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


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
MARGIN = 1.6  # factor beyond the outer points: then at least one tick of 1, 2, 5, 10, ... is visible
MARKERS = ("o", "^", "D", "v", "P", "X", "*", "<", ">")
"""Markers of models, without squares: in the legend, squares stand for colours."""
SIZE, STEP = 6.0, 5.0  # size of a marker, and increase for each marker inside it, in points
TOUCHING = 0.02  # of a panel's width and height: markers so near lie on one another
Point = tuple[float, float]


def pareto_front(points: Sequence[Point], higher_is_better: bool) -> list[Point]:
    """The points (cost, metric) that no other point dominates (at least as good in both, better in one), by cost."""
    sign = 1 if higher_is_better else -1
    front: list[Point] = []
    for cost, metric in sorted(set(points), key=lambda point: (point[0], -sign * point[1])):
        if not front or sign * metric > sign * front[-1][1]:
            front.append((cost, metric))
    return front


def draw(
    cells: Sequence[Cell], values: Sequence[float], cost: Cost, rows: Sequence[str], columns: Sequence[str]
) -> Figure:
    """A panel per dataset and metric; colour: configuration, marker: the other row fields (the model).

    Points of the front have a grey disc. If points coincide, the outer ones are rings around the inner ones.
    `values`: the cost of each cell, finite.
    """
    groups = sorted({(cell.text("dataset"), cell.metric) for cell in cells}, key=natural)
    across = min(3, len(groups))
    figure, grid = panels(math.ceil(len(groups) / across), across, 3.6, 2.9)
    flat = [panel for line in grid for panel in line]
    series = Series(cells, rows, columns)
    rest = [name for name in rows if name != "dataset"]
    kinds = sorted({cell.label(rest) for cell in cells})
    marker = {kind: MARKERS[i % len(MARKERS)] for i, kind in enumerate(kinds)}
    cost_of = {id(cell): value * cost.factor for cell, value in zip(cells, values, strict=True)}
    for panel, group in zip(flat, groups, strict=False):
        here = series.sorted([cell for cell in cells if (cell.text("dataset"), cell.metric) == group])
        points = [(cost_of[id(cell)], cell.mean * unit_of(group[1])[0]) for cell in here]
        _axes(panel, points, group, cost)
        front = pareto_front(points, bool(here[0].higher_is_better))
        _front(panel, front)
        for i in sorted(range(len(here)), key=lambda i: points[i] in front):  # the front is drawn last, on top
            _point(panel, here[i], points[i], marker[here[i].label(rest)], series, _inside(panel, points, i, front))
    for panel in flat[len(groups) :]:
        panel.set_visible(False)
    legend(figure, _handles(series, marker))
    counted = f"; bit-operations: {cost.note}" if cost.note else ""
    note = (
        "points: mean, 95 % interval (cut where it leaves the panel), rings where points coincide; grey: Pareto front"
    )
    explain(figure, note + counted)
    return figure


def _front(panel: Axes, front: Sequence[Point]) -> None:
    """Steps: at each cost the best metric of that cost or less; and a disc behind each of its points."""
    xs, ys = zip(*front, strict=True)
    panel.step(xs, ys, where="post", color="#999999", linewidth=3, alpha=0.5, zorder=1, solid_capstyle="butt")
    panel.plot(xs, ys, "o", color="#cccccc", markersize=2.6 * SIZE, markeredgewidth=0, zorder=1.5)


def _inside(panel: Axes, points: Sequence[Point], i: int, front: Sequence[Point]) -> int:
    """How many points lie on point i and are drawn inside its ring: the front's innermost, then by place."""
    places = panel.transAxes.inverted().transform(panel.transData.transform(points))

    def rank(k: int) -> tuple[bool, int]:
        return points[k] in front, k

    near = [k for k in range(len(points)) if abs(places[k] - places[i]).max() < TOUCHING]
    return sum(rank(k) > rank(i) for k in near)


def _point(panel: Axes, cell: Cell, point: Point, marker: str, series: Series, inside: int) -> None:
    """A mean with its interval; a ring where other points lie inside it."""
    color = series.look(cell).color
    error = None if math.isnan(cell.ci95) else cell.ci95 * unit_of(cell.metric)[0]
    panel.errorbar(
        *point, yerr=error, fmt=marker, color=color, markersize=SIZE + STEP * inside, markeredgewidth=1.6,
        markerfacecolor="none" if inside else color, elinewidth=1, capsize=2, capthick=1, zorder=3 - 0.01 * inside,
    )  # fmt: skip


def _axes(panel: Axes, points: Sequence[Point], group: tuple[str, str], cost: Cost) -> None:
    """Limits depend on the means only: the wide interval of two trials would leave no room for other points."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

    ys = [y for _, y in points]
    margin = 0.12 * (max(ys) - min(ys)) or 0.05 * abs(max(ys)) or 1.0
    panel.set_ylim(min(ys) - margin, max(ys) + margin)
    xs = [x for x, _ in points]
    if min(xs) > 0:  # a field of the rows may be anything
        panel.set_xscale("log")
        panel.set_xlim(min(xs) / MARGIN, max(xs) * MARGIN)
        panel.xaxis.set_major_locator(FixedLocator(cost.ticks) if cost.ticks else LogLocator(subs=(1.0, 2.0, 5.0)))
        panel.xaxis.set_major_formatter(FuncFormatter(lambda tick, _: f"{tick:g}"))
        panel.xaxis.set_minor_locator(NullLocator())
    title(panel, group[0])
    panel.set_xlabel(cost.label)
    panel.set_ylabel(metric_label(group[1]))


def _handles(series: Series, markers: Mapping[str, str]) -> dict[str, Artist]:
    """Entries of the legend: a colour per configuration, a marker per model where there are several."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: dict[str, Artist] = {name: Patch(color=look.color) for name, look in series.looks.items()}
    if len(markers) > 1:
        hollow = {"linestyle": "none", "color": "#555555", "fillstyle": "none"}
        handles |= {for_picture(kind): Line2D([], [], marker=marker, **hollow) for kind, marker in markers.items()}  # type: ignore[arg-type]
    return handles
