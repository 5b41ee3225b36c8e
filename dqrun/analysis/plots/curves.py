"""`dqrun plot curves`: loss and validation metric over the epochs, mean and band over the trials."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dqrun.analysis.cells import Cell
from dqrun.analysis.order import natural
from dqrun.analysis.plots.series import Look, Series, selected
from dqrun.analysis.plots.style import explain, legend, metric_label, panels, title
from dqrun.analysis.text import unit_of
from dqrun.config.tasks import METRICS
from dqrun.errors import ResultsError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

QUANTITIES = ("train_loss", "val_loss", "val_metric")
POINTS = 500
"""Epochs that a curve shows at most, evenly spread; a panel has fewer pixels."""
MOST_TRIALS = 50
"""Histories that a curve is the mean of at most."""
Histories = dict[str, np.ndarray]  # column of history.csv -> [trials, epochs]


def draw(cells: Sequence[Cell], rows: Sequence[str], columns: Sequence[str]) -> tuple[Figure, list[str]]:
    """A line of panels per line of the table, a curve per configuration; and warnings on trials without a history.

    Raises ResultsError where no trial has one.
    """
    cells, warnings = selected(cells, rows, columns)
    found = {id(cell): read_histories(cell) for cell in cells}
    lacking = sum(min(len(cell.done), MOST_TRIALS) - len(found[id(cell)].get("epoch", ())) for cell in cells)
    with_curves = [cell for cell in cells if found[id(cell)]]
    if not with_curves:
        raise ResultsError("no run folder of the chosen trials holds a readable history.csv: no curves to draw")
    groups = sorted({tuple(cell.text(name) for name in [*rows, "metric"]) for cell in with_curves}, key=natural)
    figure, grid = panels(len(groups), len(QUANTITIES), 2.9, 2.4)
    series, handles = Series(with_curves, rows, columns), {}
    for line, group in zip(grid, groups, strict=True):
        here = [c for c in with_curves if tuple(c.text(name) for name in [*rows, "metric"]) == group]
        for cell in series.sorted(here):
            for panel, quantity in zip(line, QUANTITIES, strict=True):
                scale = unit_of(cell.metric)[0] if quantity == "val_metric" else 1.0
                handles[series.name(cell)] = _curve(panel, found[id(cell)], quantity, scale, series.look(cell))
        _labels(line, group)
    legend(figure, {name: handles[name] for name in series.looks})
    note = "line: mean of the trials, up to the epoch that all of them reached; band: ± standard deviation"
    explain(figure, note)
    if lacking:
        warnings.append(f"{lacking} trials without a readable history.csv are not in the curves")
    return figure, warnings


def _curve(panel: Axes, history: Histories, quantity: str, scale: float, look: Look) -> object:
    values = history[quantity] * scale
    epochs, center = history["epoch"][0], values.mean(axis=0)
    (curve,) = panel.plot(epochs, center, look.line, color=look.color, linewidth=1.4)
    if len(values) > 1:
        spread = values.std(axis=0, ddof=1)
        panel.fill_between(epochs, center - spread, center + spread, color=look.color, alpha=0.18, linewidth=0)
    return curve


def _labels(line: Sequence[Axes], group: Sequence[str]) -> None:
    metric = group[-1]
    unit = "target's unit" if metric in METRICS["regression"] else "nats"
    names = (f"Training loss ({unit})", f"Validation loss ({unit})", metric_label(metric, "Validation"))
    for panel, name in zip(line, names, strict=True):
        panel.set_xlabel("Epoch")
        panel.set_ylabel(name)
        panel.set_xlim(left=1)
        _cut_outliers(panel)
    title(line[0], " ".join(group[:-1]))


def _cut_outliers(panel: Axes) -> None:
    """Cuts the axis above nearly all means if single ones are far beyond, with a note in the panel."""
    values = np.concatenate([np.asarray(line.get_ydata(), dtype=float) for line in panel.get_lines()])
    low, usual, high = np.quantile(values, [0.0, 0.95, 1.0])
    end = usual + 0.5 * (usual - low)
    if high <= low + 3 * (usual - low):
        return
    panel.set_ylim(low - 0.05 * (end - low), end)
    text = f"cut: values up to {high:.3g}"
    panel.text(0.98, 0.97, text, transform=panel.transAxes, ha="right", va="top", fontsize="x-small").set_bbox(
        {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.5}
    )


def read_histories(cell: Cell) -> Histories:
    """The columns of history.csv of the finished trials, [trials, epochs], cut to the shortest; {} without any.

    At most MOST_TRIALS trials, the first ones, and at most POINTS epochs, including the last one.
    """
    runs = cell.firsts[:MOST_TRIALS]
    tables = [table for run in runs if (table := read_history(run.folder / "history.csv")) is not None]
    if not tables:
        return {}
    shortest = min(len(table["epoch"]) for table in tables)
    shown = np.unique(np.linspace(0, shortest - 1, min(shortest, POINTS)).round().astype(int))
    return {name: np.stack([table[name][shown] for table in tables]) for name in ("epoch", *QUANTITIES)}


def read_history(path: Path) -> Histories | None:
    """One history.csv as columns, or None where it is missing, empty or damaged."""
    names = ("epoch", *QUANTITIES)
    try:
        with path.open(encoding="utf-8", newline="") as file:
            lines = csv.reader(file)
            header = next(lines, [])
            places = [header.index(name) for name in names]
            rows = [[float(line[place]) for place in places] for line in lines]
    except (OSError, ValueError, IndexError, csv.Error):
        return None
    return dict(zip(names, np.array(rows).T, strict=True)) if rows else None
