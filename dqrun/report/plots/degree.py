"""`dqrun plot degree`: quantisation error and accuracy against the in-degree of nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from dqrun.report.cells import Cell
from dqrun.report.order import ordered_labels
from dqrun.report.plots.style import by_label, explain, legend, looks, panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from dqrun.report.degrees import ByDegree

NOTE = (
    "Error: of what the last layer aggregates, fake-quantised against FP32 with the same weights; root mean square "
    "over the nodes of a bin, relative to that of the FP32 values of all nodes. Lines: mean of the trials; bands: "
    "± standard deviation."
)
PARTS = {"train": "training", "val": "validation", "test": "test"}
Trials = Sequence["ByDegree"]


def draw(
    cells: Sequence[Cell], found: Mapping[int, Trials], rows: Sequence[str], columns: Sequence[str], part: str
) -> Figure:
    """A line of panels per line of the table: error left, accuracy right (node tasks).

    `found`: the binned errors of each trial, by `id` of the cell; bins are those of the part's nodes.
    """
    groups = sorted({tuple(cell.text(name) for name in rows) for cell in cells})
    with_accuracy = any(trial.accuracy is not None for trials in found.values() for trial in trials)
    most = max(len(_bins(found[id(cell)])) for cell in cells)
    figure, grid = panels(len(groups), 2 if with_accuracy else 1, max(4.3, 0.62 * most), 2.9)
    style, order = looks(cells, columns), ordered_labels(cells, columns)
    for line, group in zip(grid, groups, strict=True):
        here = [cell for cell in cells if tuple(cell.text(name) for name in rows) == group]
        bins = _bins([trial for cell in here for trial in found[id(cell)]])
        for label, name, cell in by_label(here, columns, order):
            look, trials = style[label], found[id(cell)]
            if cell.text("quant") != "fp32":
                _line(line[0], bins, [_placed(t, bins, t.error) for t in trials], look.color, look.marker, "-", name)
            if trials[0].accuracy is not None:
                shares = [100 * _placed(t, bins, t.accuracy) for t in trials]
                _line(line[1], bins, shares, look.color, look.marker, "-", name)
                bare = _mean(np.stack([100 * _placed(t, bins, t.accuracy_fp32) for t in trials]))
                line[1].plot(range(len(bins)), bare, ":", color=look.color, linewidth=1.0)
        _axes(line, bins, found[id(here[0])], " ".join(group), part)
    legend(figure, [panel for line in grid for panel in reversed(line)])  # only accuracy has FP32, which comes first
    explain(figure, NOTE + (" Dotted: the same weights without quantisers." if with_accuracy else ""))
    return figure


def _bins(trials: Trials) -> list[tuple[int, int]]:
    """All bins that some trial has, by rising degree."""
    return sorted({pair for trial in trials for pair in zip(trial.low, trial.high, strict=True)})


def _placed(trial: ByDegree, bins: Sequence[tuple[int, int]], values: Sequence[float] | None) -> np.ndarray:
    """Values of a trial at the places of their bins, nan elsewhere."""
    placed = np.full(len(bins), np.nan)
    for pair, value in zip(zip(trial.low, trial.high, strict=True), values or (), strict=False):
        placed[bins.index(pair)] = value
    return placed


def _mean(values: np.ndarray) -> np.ndarray:
    """Mean over the trials (first axis) that have a value; nan where none has."""
    count = (~np.isnan(values)).sum(axis=0)
    return np.where(count > 0, np.nansum(values, axis=0) / np.maximum(count, 1), np.nan)


def _line(
    panel: Axes,
    bins: Sequence[tuple[int, int]],
    trials: Sequence[np.ndarray],
    color: str,
    marker: str,
    line: str,
    name: str,
) -> None:
    values, places = np.stack(trials), np.arange(len(bins))
    center = _mean(values)
    panel.plot(places, center, line, color=color, marker=marker, markersize=4.5, linewidth=1.4, label=name)
    if len(values) > 1:
        count = (~np.isnan(values)).sum(axis=0)
        squares = np.nansum((values - center) ** 2, axis=0)
        spread = np.where(count > 1, np.sqrt(squares / np.maximum(count - 1, 1)), np.nan)
        panel.fill_between(places, center - spread, center + spread, color=color, alpha=0.15, linewidth=0)


def _axes(line: Sequence[Axes], bins: Sequence[tuple[int, int]], trials: Trials, title: str, part: str) -> None:
    number = dict(zip(zip(trials[0].low, trials[0].high, strict=True), trials[0].nodes, strict=True))
    names = [f"{low}" if low == high else f"{low}-{high}" for low, high in bins]
    ticks = [f"{name}\n{number.get(pair, 0)}" for name, pair in zip(names, bins, strict=True)]
    line[0].set_title(title, loc="left", fontweight="bold")
    for panel, what in zip(line, ("Relative quantisation error", f"Accuracy on {PARTS[part]} nodes (%)"), strict=False):
        panel.set_xticks(range(len(bins)), ticks)
        panel.set_xlabel(f"In-degree (edges), below it the number of {PARTS[part]} nodes")
        panel.set_ylabel(what)
    line[0].set_ylim(bottom=0)
    for panel in line[1:]:
        panel.set_ylim(0, 103)
        panel.set_visible(trials[0].accuracy is not None)
