"""Differences to a baseline over equal seeds and folds, with paired tests."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from dqrun.analysis.cells import TEST, Cell
from dqrun.analysis.select import Filter
from dqrun.errors import ConfigError
from dqrun.runs.intervals import ci95, mean, std

MATCHED = ("dataset", "task", "metric", "protocol", "model", "quant", "method", "plan")
"""A cell and its baseline agree in these, but for the ones that the baseline names."""

BUDGET = "train.epochs"
"""Field of the configuration: how long a trial may train. Early stopping may end it sooner."""

MARK = "*"
"""Mark of a difference between unequal budgets."""

UNPAIRED = ("dataset", "task", "metric", "protocol", "seed", "fold")
"""A baseline cannot name these: nothing would be paired."""


@dataclass(frozen=True)
class Difference:
    """Cell minus baseline in the test metric, over the trials that both have; p-values two-sided, nan: no test."""

    cell: Cell
    baseline: Cell
    pairs: int
    mean: float
    ci95: float  # half-width, of the mean of the paired differences (Student's t)
    p_t: float  # paired t-test (scipy.stats.ttest_rel)
    p_wilcoxon: float  # Wilcoxon signed-rank test (scipy.stats.wilcoxon), pairs without difference left out
    p_t_holm: float = math.nan
    p_wilcoxon_holm: float = math.nan
    budgets: tuple[str, str] = ("", "")  # epochs that the cell and its baseline were allowed

    @property
    def is_equal_budget(self) -> bool:
        """Whether both have the same budget of epochs; otherwise the difference says little about the methods."""
        return self.budgets[0] == self.budgets[1]


def parse_baseline(text: str) -> list[Filter]:
    """`method=naive`, `quant=int4,method=naive` as conditions; raises ConfigError for another sign or field."""
    filters = [Filter.parse(word) for word in text.split(",")]
    for condition in filters:
        if condition.sign != "=":
            raise ConfigError.rule("--baseline", "be FIELD=VALUE[,FIELD=VALUE...]", text)
        if condition.name in UNPAIRED:
            rule = f"not name {condition.name}: trials are paired within equal {', '.join(UNPAIRED)}"
            raise ConfigError.rule("--baseline", rule, text)
    return filters


def differences(cells: Sequence[Cell], baseline: Sequence[Filter]) -> tuple[list[Difference], list[str]]:
    """One difference per cell with a baseline and common trials; p-values are corrected over all of them (Holm).

    Also warnings on cells whose baseline is missing, ambiguous, has other folds or another budget of epochs.
    """
    if not any(_fits(cell, baseline) for cell in cells):
        wanted = ",".join(f"{condition.name}={condition.values[0]}" for condition in baseline)
        raise ConfigError.rule("--baseline", "fit a configuration among the chosen trials", wanted)
    found, warnings = [], []
    for cell in cells:
        if _fits(cell, baseline):
            continue
        other, trouble = _baseline_of(cell, cells, baseline)
        if other is not None:
            difference = _difference(cell, other)
            trouble = _trouble(difference)
            found += [difference] if difference.pairs else []
        if trouble:
            warnings.append(f"{cell.label(('dataset', 'model', 'quant', 'method'))}: {trouble}")
    return _corrected(found), warnings


def _trouble(difference: Difference) -> str:
    if difference.pairs == 0:
        return "no equal seeds or folds with its baseline"
    if not difference.is_equal_budget:
        own, other = difference.budgets
        return f"{own} epochs against {other} of its baseline: the difference (marked {MARK}) is no fair one"
    return ""


def _fits(cell: Cell, filters: Sequence[Filter]) -> bool:
    return all(condition.accepts(cell.runs[0]) for condition in filters)


def _baseline_of(cell: Cell, cells: Sequence[Cell], baseline: Sequence[Filter]) -> tuple[Cell | None, str]:
    """The one cell that is the baseline, or None and why not."""
    named = {condition.name for condition in baseline}
    candidates = []
    for other in cells:
        # FP32 has neither method nor plan: as a baseline it stands for all of them.
        free = named | ({"method", "plan"} if other.text("quant") == "fp32" else set())
        if _fits(other, baseline) and all(cell.text(name) == other.text(name) for name in MATCHED if name not in free):
            candidates.append(other)
    if len(candidates) > 1:
        return None, f"{len(candidates)} configurations fit --baseline; name one more field"
    if not candidates:
        return None, "" if cell.text("quant") == "fp32" else "no trials of its baseline"
    for name in ("name", "split_seed", "num_folds"):
        if cell.runs[0].value(f"protocol.{name}") != candidates[0].runs[0].value(f"protocol.{name}"):
            return None, f"its baseline has another protocol.{name}: its trials are no pairs"
    return candidates[0], ""


def _difference(cell: Cell, baseline: Cell) -> Difference:
    own, other = cell.by_trial(TEST), baseline.by_trial(TEST)
    keys = sorted(own.keys() & other.keys())
    deltas = [own[key] - other[key] for key in keys]
    p_t, p_wilcoxon = paired_tests([own[key] for key in keys], [other[key] for key in keys])
    budgets = cell.text(BUDGET), baseline.text(BUDGET)
    return Difference(cell, baseline, len(keys), mean(deltas), ci95(deltas), p_t, p_wilcoxon, budgets=budgets)


def paired_tests(a: Sequence[float], b: Sequence[float]) -> tuple[float, float]:
    """Two-sided p-values of the paired t-test and of Wilcoxon's signed-rank test.

    nan below two pairs. If all differences are equal up to rounding, the t-test is not defined and gives nan; if all
    are zero, both give nan.
    """
    deltas = [x - y for x, y in zip(a, b, strict=True)]
    if len(deltas) < 2:
        return math.nan, math.nan
    tiny = 1e-12 * max(abs(value) for value in (*a, *b))
    if max(map(abs, deltas)) <= tiny:
        return math.nan, math.nan
    from scipy import stats

    p_t = float(stats.ttest_rel(a, b).pvalue) if std(deltas) > tiny else math.nan
    # Rounded, so that accuracies with equal numbers of hits differ by exactly equal amounts and rank as ties.
    rounded = [round(delta, 12) for delta in deltas]
    return p_t, float(stats.wilcoxon(rounded, zero_method="wilcox").pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction (1979), in the order given; nan stays nan and is no test."""
    order = sorted((p, i) for i, p in enumerate(p_values) if not math.isnan(p))
    corrected = [math.nan] * len(p_values)
    largest = 0.0
    for rank, (p, i) in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * p))
        corrected[i] = largest
    return corrected


def _corrected(found: list[Difference]) -> list[Difference]:
    for_t = holm([difference.p_t for difference in found])
    for_wilcoxon = holm([difference.p_wilcoxon for difference in found])
    return [
        replace(difference, p_t_holm=t, p_wilcoxon_holm=w)
        for difference, t, w in zip(found, for_t, for_wilcoxon, strict=True)
    ]
