"""`dqrun plot degree`: quantisation error and accuracy against the in-degree of nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from dqrun.analysis.cells import Cell
from dqrun.analysis.degree_bins import Bins, ByDegree, NodeErrors, by_degree, degree_bins
from dqrun.analysis.order import natural
from dqrun.analysis.plots.series import Look, Series
from dqrun.analysis.plots.style import explain, legend, panels, title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NOTE = (
    "Error: of what the last layer aggregates, fake-quantised against FP32 with the same weights; root mean square "
    "over the nodes of a bin, relative to that of the FP32 values of all nodes. Lines: mean of the trials; bands: "
    "± standard deviation."
)
PARTS = {"train": "training", "val": "validation", "test": "test"}
Trials = Sequence[NodeErrors]


def draw(
    cells: Sequence[Cell], found: Mapping[int, Trials], rows: Sequence[str], columns: Sequence[str], part: str
) -> Figure:
    """A line of panels per line of the table: error left, accuracy right (node tasks).

    `found`: the errors at each node of each trial, by `id` of the cell. The trials of a line share its bins.
    """
    groups: dict[tuple[str, ...], list[Cell]] = {}
    for cell in cells:
        groups.setdefault(tuple(cell.text(name) for name in rows), []).append(cell)
    bins = {
        group: degree_bins([trial.degree for cell in here for trial in found[id(cell)]])
        for group, here in groups.items()
    }
    with_accuracy = any(trial.hit is not None for trials in found.values() for trial in trials)
    most = max(map(len, bins.values()))
    figure, grid = panels(len(groups), 2 if with_accuracy else 1, max(4.3, 0.62 * most), 2.9)
    series, handles = Series(cells, rows, columns), {}
    for line, group in zip(grid, sorted(groups, key=natural), strict=True):
        for cell in series.sorted(groups[group]):
            trials = [by_degree(trial, bins[group]) for trial in found[id(cell)]]
            handles[series.name(cell)] = _cell(line, trials, series.look(cell), cell.text("quant") == "fp32")
        _axes(line, bins[group], trials[0], " ".join(group), part)
    legend(figure, {name: handles[name] for name in series.looks})
    explain(figure, NOTE + (" Dotted: the same weights without quantisers." if with_accuracy else ""))
    return figure


def _cell(line: Sequence[Axes], trials: Sequence[ByDegree], look: Look, is_fp32: bool) -> object:
    """Draws a configuration into the panels of its line; returns an artist for the legend. FP32 has no error."""
    handle = None
    if not is_fp32:
        handle = _line(line[0], [trial.error for trial in trials], look, (0.0, np.inf))
    if len(line) > 1 and trials[0].accuracy is not None:
        handle = _line(line[1], [_percent(trial.accuracy) for trial in trials], look, (0.0, 100.0))
        bare = np.mean([_percent(trial.accuracy_fp32) for trial in trials], axis=0)
        line[1].plot(range(len(bare)), bare, ":", color=look.color, linewidth=1.0)
    return handle or line[0].plot([], [], look.line, color=look.color, marker=look.marker)[0]


def _percent(shares: Sequence[float] | None) -> list[float]:
    return [100.0 * share for share in shares or ()]


def _line(panel: Axes, trials: Sequence[Sequence[float]], look: Look, limits: tuple[float, float]) -> Any:
    """Mean and band of one standard deviation, cut at the limits of the quantity."""
    values = np.array(trials)
    places, center = np.arange(values.shape[1]), values.mean(axis=0)
    (line,) = panel.plot(places, center, look.line, color=look.color, marker=look.marker, markersize=4.5, linewidth=1.4)
    if len(values) > 1:
        spread = values.std(axis=0, ddof=1)
        low, high = np.clip(center - spread, *limits), np.clip(center + spread, *limits)
        panel.fill_between(places, low, high, color=look.color, alpha=0.15, linewidth=0)
    return line


def _axes(line: Sequence[Axes], bins: Bins, trial: ByDegree, name: str, part: str) -> None:
    names = [f"{low}" if low == high else f"{low}-{high}" for low, high in bins]
    ticks = [f"{name}\n{count}" for name, count in zip(names, trial.nodes, strict=True)]
    title(line[0], name)
    for panel, what in zip(line, ("Relative quantisation error", f"Accuracy on {PARTS[part]} nodes (%)"), strict=False):
        panel.set_xticks(range(len(bins)), ticks)
        panel.set_xlabel(f"In-degree (edges), below it the number of {PARTS[part]} nodes")
        panel.set_ylabel(what)
    line[0].set_ylim(bottom=0)
    for panel in line[1:]:
        panel.set_ylim(0, 103)
        panel.set_visible(trial.accuracy is not None)
