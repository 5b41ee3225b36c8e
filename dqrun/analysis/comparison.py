"""`Comparison`: the content of `dqrun compare`, before it is written in some format."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from dqrun.analysis.baselines import not_beaten
from dqrun.analysis.cells import METRICS, TEST, Cell, make_cells
from dqrun.analysis.checks import incomplete, sharing, unequal, without_config
from dqrun.analysis.order import Key, natural, ordered_labels
from dqrun.analysis.published import Match, matches
from dqrun.analysis.rows import Run
from dqrun.analysis.select import Filter
from dqrun.analysis.sheets import Sheet
from dqrun.analysis.significance import BUDGET, MARK, Difference, differences
from dqrun.analysis.text import fixed, format_difference, format_mean, format_p, unit_of

SPREADS = {
    "ci95": "Mean +- half-width of its 95 % confidence interval (Student's t), in brackets the number of trials.",
    "std": "Mean +- standard deviation over the trials, in brackets their number.",
    "both": "Mean +- standard deviation, CI: half-width of the 95 % interval (Student's t), in brackets the trials.",
}
Place = tuple[tuple[str, ...], str]  # a line of the main table (its row fields and measure) and a column of it


@dataclass(frozen=True)
class Comparison:
    """Cells, arranged by fields, with differences to a baseline and published numbers on request."""

    cells: list[Cell]  # one per configuration and column of the rows that is shown
    rows: list[str]
    columns: list[str]
    differences: list[Difference] | None = None
    published: list[Match] | None = None
    warnings: tuple[str, ...] = ()


def compare(
    runs: Sequence[Run],
    rows: list[str],
    columns: list[str],
    baseline: Sequence[Filter] | None = None,
    published: bool = False,
    shown: Sequence[str] = (TEST,),
) -> Comparison:
    """Means of all configurations among the trials, and warnings if they are not comparable.

    `shown`: the numeric columns of the rows whose means are shown.
    """
    cells = make_cells(runs, [*rows, *columns])
    found, warnings = (None, []) if baseline is None else differences(cells, baseline)
    places = by_place(cells, rows, columns)
    groups: dict[tuple[str, ...], list[Cell]] = {}
    shared = []
    for (row, column), here in places.items():
        groups.setdefault(row, []).extend(here)
        if len(here) > 1:
            shared.append(sharing(" ".join([*row[:-1], column]), here))
    lines = Counter(row[:-1] for row in groups)
    uneven = [
        text
        for row, group in groups.items()
        for text in unequal(" ".join(row if lines[row[:-1]] > 1 else row[:-1]), group, columns)
    ]
    # Differences name cells by identity: those of the test metric stay the same objects.
    measured = [cell if cell.field == field else replace(cell, field=field) for field in shown for cell in cells]
    return Comparison(
        cells=measured,
        rows=rows,
        columns=columns,
        differences=found,
        published=matches(measured) if published else None,
        warnings=(*without_config(cells), *shared, *uneven, *incomplete(measured), *not_beaten(measured), *warnings),
    )


def by_place(cells: Sequence[Cell], rows: list[str], columns: list[str]) -> dict[Place, list[Cell]]:
    """Cells by their place in the main table; several if configurations share a place.

    The unit of a column such as `seconds` does not depend on the metric. If the trials of one line have several
    metrics, which chose their epochs, the name of the measure includes the metric.
    """
    names = [tuple(cell.text(name) for name in rows) for cell in cells]
    metrics: dict[tuple[str, ...], set[str]] = {}
    for row, cell in zip(names, cells, strict=True):
        metrics.setdefault(row, set()).add(cell.text("metric"))
    places: dict[Place, list[Cell]] = {}
    for row, cell in zip(names, cells, strict=True):
        chosen_by = f" (dataset.metric={cell.text('metric')})" if cell.field not in METRICS else ""
        measure = cell.measure + (chosen_by if len(metrics[row]) > 1 else "")
        places.setdefault(((*row, measure), cell.label(columns)), []).append(cell)
    return places


def main_sheet(comparison: Comparison, spread: str = "ci95") -> Sheet:
    """Means of the columns shown, the best of each line in bold, with 95 % intervals and the number of trials.

    `spread`: ci95, std or both. Where several configurations share a place, each has a line of its own, so that no
    mean mixes them.
    """
    rows, columns = comparison.rows, comparison.columns
    places = by_place(comparison.cells, rows, columns)
    headers = ordered_labels(comparison.cells, columns)
    lines: list[list[str]] = []
    bold = set()
    fields = list(dict.fromkeys(cell.field for cell in comparison.cells))
    asked = {row: fields.index(cells[0].field) for (row, _), cells in places.items()}
    for row in sorted(asked, key=lambda row: (natural(row[:-1]), asked[row], row[-1])):
        here = [places.get((row, header), []) for header in headers]
        best = best_of([cell for group in here for cell in group])
        for i in range(max(map(len, here))):
            shown = [group[i] if i < len(group) else None for group in here]
            bold |= {(len(lines), len(row) + j) for j, cell in enumerate(shown) if cell is not None and cell in best}
            lines.append([*row, *("" if cell is None else cell_text(cell, spread) for cell in shown)])
    return Sheet([*rows, "metric", *headers], lines, frozenset(bold), notes=_replicates(comparison.cells))


def _replicates(cells: Sequence[Cell]) -> list[str]:
    """A note on trials whose value in the means is the average of several rows."""
    counts = {(*key, cell.text("cell_hash")): len(runs) for cell in cells for key, runs in cell.done.items()}
    several = [count for count in counts.values() if count > 1]
    if not several:
        return []
    trials = "1 trial was" if len(several) == 1 else f"{len(several)} trials were"
    return [
        f"{trials} run in several environments (threads, device, kernels, processor or versions): each counts once, "
        f"with the average of its rows ({sum(several)} in all)."
    ]


def best_of(cells: Sequence[Cell]) -> list[Cell]:
    """The cells with the best mean. FP32 is left out if there are quantised cells, because it is the reference.

    Empty if neither direction is better.
    """
    if any(cell.higher_is_better is None for cell in cells):
        return []
    quantised = [cell for cell in cells if cell.text("quant") != "fp32"]
    competing = [cell for cell in quantised or cells if not math.isnan(cell.mean)]
    return [cell for cell in competing if not any(other.beats(cell) for other in competing)]


def cell_text(cell: Cell, spread: str = "ci95") -> str:
    """`79.95 % +- 0.60 (20)`: mean, half-width of the 95 % interval (or std, or `std 1.28, CI 0.60`), trials.

    Empty if no finished trial has the value.
    """
    failed = f", {cell.failed} failed" if cell.failed else ""
    count = len(cell.values())
    if count == 0 and cell.done:  # not measured
        return ""
    if spread == "both" and not math.isnan(cell.std):
        scale, digits, _ = unit_of(cell.metric)
        both = f" +- {fixed(cell.std * scale, digits)}, CI {fixed(cell.ci95 * scale, digits)}"
        return f"{format_mean(cell.mean, math.nan, cell.metric)}{both} ({count}{failed})"
    half_width = cell.std if spread == "std" else cell.ci95
    return f"{format_mean(cell.mean, half_width, cell.metric)} ({count}{failed})"


def _line_order(comparison: Comparison) -> Callable[[Cell], tuple[Key, int]]:
    """Sorts cells as the lines of the main table, and its columns within a line."""
    place = {label: i for i, label in enumerate(ordered_labels(comparison.cells, comparison.columns))}
    return lambda cell: (natural(cell.text(name) for name in comparison.rows), place[cell.label(comparison.columns)])


def difference_sheet(comparison: Comparison) -> Sheet:
    """One line per difference; the tests are named below it."""
    order = _line_order(comparison)
    found = sorted(comparison.differences or [], key=lambda each: order(each.cell))
    named = comparison.rows + [name for name in comparison.columns if name not in comparison.rows]
    header = [*named, "metric", "baseline", "pairs", "difference +- 95 % CI", "t-test p", "(Holm)", "Wilcoxon p"]
    lines = []
    for each in found:
        scale, digits, _ = unit_of(each.cell.metric)
        spread = "" if math.isnan(each.ci95) else f" +- {fixed(each.ci95 * scale, digits)}"
        own = [each.cell.text(name) for name in named] + [each.cell.metric, each.baseline.label(comparison.columns)]
        ps = [format_p(p) for p in (each.p_t, each.p_t_holm, each.p_wilcoxon, each.p_wilcoxon_holm)]
        mark = "" if each.is_equal_budget else f" {MARK}"
        lines.append([*own, str(each.pairs), format_difference(each.mean, each.cell.metric) + spread + mark, *ps])
    notes = [
        "Differences are cell minus baseline over equal seeds or folds: points of accuracy, or mae (lower is better). "
        "Two-sided paired t-test and Wilcoxon signed-rank test; (Holm): corrected over all lines, per test.",
    ]
    if not all(each.is_equal_budget for each in found):
        notes.append(f"{MARK} Cell and baseline had different numbers of epochs ({BUDGET}): no fair difference.")
    return Sheet([*header, "(Holm)"], lines, title="Differences to the baseline", notes=notes)


def published_sheet(comparison: Comparison) -> Sheet:
    """One line per published number, with its mark."""
    header = ["dataset", "model", "quant", "method", "plan", "ours +- std", "published +- std", "difference", "mark"]
    lines = []
    order = _line_order(comparison)
    for match in sorted(comparison.published or [], key=lambda match: order(match.cell)):
        cell, other = match.cell, match.published
        lines.append(
            [
                *(cell.text(name) for name in ("dataset", "model", "quant", "method", "plan")),
                f"{format_mean(cell.mean, cell.std, cell.metric)} ({len(cell.values())})",
                format_mean(other.mean, other.std, cell.metric),
                format_difference(match.difference, cell.metric),
                other.mark,
                f"{other.source}, {other.table}: {other.label}",
            ]
        )
    notes = [
        "Mark: read - seen in public code or logs; recalled - from the paper, not checked again against it. Protocols "
        "may differ (trials, epochs, splits); the notes on each number are in the JSON and CSV formats.",
    ]
    return Sheet([*header, "source"], lines, title="Published numbers", notes=notes)
