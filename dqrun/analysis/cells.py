"""`Cell`: the trials that make one mean, and its statistics."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from dqrun.analysis.rows import Run
from dqrun.analysis.text import text_of
from dqrun.config import tasks
from dqrun.runs.intervals import ci95, mean, std

TEST = "test_metric"
METRICS = ("train_metric", "val_metric", TEST, "test_metric_integer", "baseline")
"""Columns of the rows that are in the unit of the trial's metric."""

LOWER_IS_BETTER = {
    "seconds": True,
    "setup_seconds": True,
    "seconds_per_epoch": True,
    "peak_bytes": True,
    "average_bits": True,
    "model_bytes": True,
    "bit_operations": True,
    "search_epochs": True,
    "search_seconds": True,
    "integer_agreement": False,
    "integer_agreement_float32": False,
    **{name: name in tasks.LOWER_IS_BETTER for name in tasks.METRIC_COLUMNS},
}
"""Columns that have a better end whatever the metric; the others but METRICS have none."""


@dataclass(frozen=True)
class Cell:
    """Trials of one configuration (equal except for seed and fold). Failed ones are counted but are in no mean.

    Several rows of one (seed, fold) come from different environments (threads, device, versions). They are replicates
    of one trial, whose value is their mean, so that each trial counts once.
    """

    runs: tuple[Run, ...]  # at least one; the oldest first
    field: str = TEST  # the numeric column of the rows whose mean this is

    def text(self, name: str) -> str:
        """A field as text, from the first trial; empty without a value."""
        return text_of(self.runs[0].value(name))

    def label(self, names: Sequence[str]) -> str:
        """The fields in a few words, without empty ones: `int4 dq`, `fp32`, `int4 lr=0.01 learned_scale`."""
        values = [(name, self.runs[0].value(name)) for name in names]
        words = [word for name, value in values if (word := _word(name, value))]
        return " ".join(words or [f"{_short(name)}={text_of(value)}" for name, value in values if value in (False, [])])

    @property
    def metric(self) -> str:
        """Name of the averaged quantity for `unit_of`: accuracy, mae, or the name of the column."""
        return self.text("metric") if self.field in METRICS else self.field

    @property
    def measure(self) -> str:
        """The name of the averaged quantity in tables: accuracy, accuracy (val_metric), seconds."""
        return f"{self.metric} ({self.field})" if self.field in METRICS and self.field != TEST else self.metric

    @property
    def higher_is_better(self) -> bool | None:
        """Whether larger values are better; None if neither direction is."""
        if self.field in METRICS:
            return bool(self.runs[0].row["higher_is_better"])
        return not LOWER_IS_BETTER[self.field] if self.field in LOWER_IS_BETTER else None

    @cached_property
    def done(self) -> dict[tuple[int, int], list[Run]]:
        """The finished runs of each trial, by (seed, fold); several for replicates."""
        found: dict[tuple[int, int], list[Run]] = {}
        for run in self.runs:
            if run.done:
                found.setdefault(run.key, []).append(run)
        return found

    @property
    def firsts(self) -> list[Run]:
        """The oldest finished run of each trial; pictures of curves and degrees use it."""
        return [replicates[0] for replicates in self.done.values()]

    @property
    def failed(self) -> int:
        """Trials without any finished run."""
        return len({run.key for run in self.runs} - self.done.keys())

    def by_trial(self, column: str | None = None) -> dict[tuple[int, int], float]:
        """A column (default: the cell's own) by seed and fold: the mean of the replicates that have a number."""
        name = column or self.field
        found = {}
        for key, replicates in self.done.items():
            known = [float(value) for run in replicates if (value := run.value(name)) is not None and value == value]
            if known:
                found[key] = mean(known)
        return found

    def values(self, column: str | None = None) -> list[float]:
        """A column (default: the cell's own) of the finished trials that have a number; replicates are averaged."""
        return list(self.by_trial(column).values())

    @cached_property
    def mean(self) -> float:
        """Mean of the cell's field; nan without a value."""
        return mean(self.values())

    @cached_property
    def std(self) -> float:
        """Standard deviation of the cell's field, unbiased; nan below two values."""
        return std(self.values())

    @cached_property
    def ci95(self) -> float:
        """Half-width of the 95 % confidence interval of the mean; nan below two values."""
        return ci95(self.values())

    def beats(self, other: Cell) -> bool:
        """Whether this mean is better; False without a value, and if neither direction is better."""
        if self.higher_is_better is None or math.isnan(self.mean) or math.isnan(other.mean):
            return False
        return self.mean > other.mean if self.higher_is_better else self.mean < other.mean


def _word(name: str, value: object) -> str:
    """A field in a label; empty for a setting that is off. A value of a dotted field has the field's name before it."""
    text = text_of(value)
    if text in ("", "none", "[]") or value is False:
        return ""
    if value is True:
        return _short(name)
    return f"{_short(name)}={text}" if "." in name else text


def _short(name: str) -> str:
    return name.rpartition(".")[2]


def make_cells(runs: Sequence[Run], fields: Sequence[str]) -> list[Cell]:
    """Trials by configuration, in order of first appearance; trials that differ in a shown field make cells of their
    own.
    """
    groups: dict[tuple[str, ...], list[Run]] = {}
    for run in runs:
        key = (run.row["cell_hash"], *(text_of(run.value(name)) for name in fields))
        groups.setdefault(key, []).append(run)
    return [Cell(tuple(group)) for group in groups.values()]
