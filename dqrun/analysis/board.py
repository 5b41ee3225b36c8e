"""The tables of `dqrun leaderboard`: methods by width, and what each configuration costs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from dqrun.analysis.cells import Cell
from dqrun.analysis.checks import MOST, distinguishing
from dqrun.analysis.comparison import best_of, cell_text
from dqrun.analysis.latency import Latency, latency_of
from dqrun.analysis.order import natural
from dqrun.analysis.published import matches
from dqrun.analysis.sheets import Sheet
from dqrun.analysis.text import fixed, format_difference, format_mean, text_of, unit_of
from dqrun.runs.intervals import mean

if TYPE_CHECKING:
    from dqrun.nn.costs import Costs

CHOSEN = (
    "Where several configurations share a width, a method and a granularity, the one with the best mean of the "
    "validation metric stands here. All of them are in the tables below."
)
COUNTED = (
    "act. bits: mean width of the activations that operations read; KiB: parameters at their widths; bit-ops: "
    "bit-operations in millions (MACs x mean width of the operands), per graph; search: epochs of a search of widths "
    "before the training; x FP32: seconds per epoch by those of the FP32 configuration of the same model, in equal "
    "environments; published: read in public code or logs, or recalled from the paper (mark)."
)
IDENTITY = ("model", "method", "quant", "plan")


@dataclass(frozen=True)
class Costing:
    """Sources of the cost columns other than the rows.

    `costs`: gives the costs of a cell whose rows do not record them, or None.
    """

    costs: Callable[[Cell], Costs | None]
    latencies: Sequence[Latency] = ()


def boards(cells: Sequence[Cell], costing: Costing) -> list[Sheet]:
    """Tables of each dataset: methods by width, then costs for each model."""
    sheets = []
    for dataset, metric in dict.fromkeys((cell.text("dataset"), cell.metric) for cell in cells):
        here = [cell for cell in cells if (cell.text("dataset"), cell.metric) == (dataset, metric)]
        sheets.append(replace(by_width(here), title=f"{dataset}: {metric} by width"))
        for model in sorted({cell.text("model") for cell in here}):
            group = [cell for cell in here if cell.text("model") == model]
            sheets.append(replace(costs_sheet(group, costing), title=f"{dataset} {model}: {metric} and costs"))
    return sheets


def width_of(cell: Cell) -> tuple[float, float]:
    """Bits of weights and of activations, 32 where they are not quantised."""
    row = cell.runs[0].row
    return float(row.get("weight_bits") or 32), float(row.get("activation_bits") or 32)


def width_name(cell: Cell) -> str:
    """The widths in `quant`: `int4-row` has `int4`."""
    return cell.text("quant").partition("-")[0]


def granularity(cell: Cell) -> str:
    """The part of `quant` after the widths: `int4-row` has `row`; empty for one scale per tensor."""
    return cell.text("quant").partition("-")[2]


def by_width(cells: Sequence[Cell]) -> Sheet:
    """A line per model, method and granularity, a column per width; the best of a model and a width is in bold."""
    widths = list(
        dict.fromkeys(width_name(cell) for cell in sorted(cells, key=lambda cell: [-w for w in width_of(cell)]))
    )
    lines: dict[tuple[str, str, str], dict[str, Cell]] = {}
    shared = False
    for cell in cells:
        line = lines.setdefault((cell.text("model"), cell.text("method"), granularity(cell)), {})
        other = line.get(width_name(cell))
        shared |= other is not None
        if other is None or _better_validation(cell, other):
            line[width_name(cell)] = cell
    ordered = sorted(lines, key=lambda key: (key[0], key[1] != "none", natural(key)))
    texts, bold = [], set()
    for i, key in enumerate(ordered):
        for j, width in enumerate(widths):
            rivals = [line[width] for other, line in lines.items() if other[0] == key[0] and width in line]
            if lines[key].get(width) in best_of(rivals):
                bold.add((i, len(key) + j))
        texts.append([*key, *(cell_text(lines[key][width]) if width in lines[key] else "" for width in widths)])
    return Sheet(["model", "method", "ranges", *widths], texts, frozenset(bold), notes=[CHOSEN] if shared else [])


def _better_validation(cell: Cell, other: Cell) -> bool:
    own, theirs = (mean(each.values("val_metric")) for each in (cell, other))
    return own > theirs if cell.higher_is_better else own < theirs


def costs_sheet(cells: Sequence[Cell], costing: Costing) -> Sheet:
    """A line per configuration of one dataset and model: larger widths first, in a width the best mean first."""
    reference = next((cell for cell in cells if cell.text("quant") == "fp32"), None)
    settings = _settings(cells)
    sign = -1 if cells[0].higher_is_better else 1

    def key(cell: Cell) -> tuple[float, float, float]:
        weights, activations = width_of(cell)
        return -weights, -activations, math.inf if math.isnan(cell.mean) else sign * cell.mean

    header = ["quant", "method", "plan", "settings", cells[0].metric, "to FP32", "integer program"]
    header += ["act. bits", "KiB", "bit-ops", "search", "ms", "s/epoch", "x FP32", "published"]
    lines = [_line(cell, reference, settings.get(id(cell), ""), costing) for cell in sorted(cells, key=key)]
    empty = [i for i in range(len(header)) if not any(line[i] for line in lines)]
    kept = [i for i in range(len(header)) if i not in empty]
    return Sheet([header[i] for i in kept], [[line[i] for i in kept] for line in lines], notes=[COUNTED])


def _line(cell: Cell, reference: Cell | None, settings: str, costing: Costing) -> list[str]:
    names = [cell.text(name) for name in ("quant", "method", "plan")]
    named = [text if text != "none" else "" for text in names]
    integer = mean(cell.values("test_metric_integer"))
    program = "" if math.isnan(integer) else format_mean(integer, math.nan, cell.metric)
    latency = latency_of(cell, list(costing.latencies)) if costing.latencies else math.nan
    measured = ["" if math.isnan(latency) else fixed(latency * 1e3, 2), *_training(cell, reference)]
    return [
        *named, settings, cell_text(cell), _to_reference(cell, reference), program,
        *_counted(cell, costing), _searched(cell), *measured, _published(cell),
    ]  # fmt: skip


def _counted(cell: Cell, costing: Costing) -> list[str]:
    """Bits, KiB and millions of bit-operations: means of the rows' columns if recorded, else from `costing`."""
    names = ("average_bits", "model_bytes", "bit_operations")
    recorded = [mean(cell.values(name)) for name in names]
    if any(map(math.isnan, recorded)):
        counted = costing.costs(cell)
        if counted is None:
            return ["", "", ""]
        recorded = [getattr(counted, name) for name in names]
    bits, size, operations = recorded
    return [fixed(bits, 2), fixed(size / 1024, 1), fixed(operations / 1e6, 1)]


def _searched(cell: Cell) -> str:
    epochs = mean(cell.values("search_epochs"))
    return fixed(epochs, 0) if epochs > 0 else ""


def _to_reference(cell: Cell, reference: Cell | None) -> str:
    """The mean difference to FP32 over equal seeds and folds."""
    if reference is None or cell is reference:
        return ""
    own, theirs = cell.by_trial(), reference.by_trial()
    pairs = [own[key] - theirs[key] for key in own.keys() & theirs.keys()]
    return format_difference(mean(pairs), cell.metric) if pairs else ""


_ENVIRONMENT = ("device", "threads", "processor", "kernels")


def _training(cell: Cell, reference: Cell | None) -> list[str]:
    """Seconds per epoch, and their ratio to FP32 if both ran in one environment."""
    seconds = mean(cell.values("seconds_per_epoch"))
    if math.isnan(seconds):
        return ["", ""]
    if reference is None or cell is reference:
        return [fixed(seconds, 3), ""]
    same = all(
        {run.value(name) for run in cell.runs} == {run.value(name) for run in reference.runs} for name in _ENVIRONMENT
    )
    theirs = mean(reference.values("seconds_per_epoch"))
    return [fixed(seconds, 3), fixed(seconds / theirs, 2) if same and theirs > 0 else ""]


def _published(cell: Cell) -> str:
    """Published figures for the same, with their marks."""
    scale, digits, _ = unit_of(cell.metric)
    return ", ".join(
        f"{fixed(match.published.mean * scale, digits)} ({match.published.mark})"
        for match in matches([cell])
        if match.published.metric == cell.metric
    )


def _settings(cells: Sequence[Cell]) -> dict[int, str]:
    """Fields in which cells of equal names differ, by the cell's id."""
    groups: dict[tuple[str, ...], list[Cell]] = {}
    for cell in cells:
        groups.setdefault(tuple(cell.text(name) for name in IDENTITY), []).append(cell)
    found = {}
    for group in groups.values():
        if len(group) < 2:
            continue
        fields = distinguishing(group)
        for i, cell in enumerate(group):
            said = [f"{name}={text_of(values[i]) or 'null'}" for name, values in fields.items()]
            found[id(cell)] = " ".join(said[:MOST]) + (" ..." if len(said) > MOST else "")
    return found
