"""Published numbers beside one's own: `published.csv`, matched by dataset, model, bits, method and metric."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from dqrun.analysis.cells import TEST, Cell

FIELDS = (TEST, "seconds")
"""Columns of the rows that published numbers stand beside."""

FILE = Path(__file__).with_name("published.csv")


@dataclass(frozen=True)
class Published:
    """One published result; `mean` and `std` in dqrun's units (accuracy as a fraction), nan where none was given.

    `metric`: accuracy, mae, or seconds (training of one trial).

    `mark`: source of the figure, `read` in public code or logs, or `recalled` from the paper.
    """

    dataset: str
    model: str
    bits: float  # mean width, 32: FP32
    method: str
    metric: str
    mean: float
    std: float
    mark: str
    source: str
    table: str
    label: str  # of the method, in the source
    note: str


@dataclass(frozen=True)
class Match:
    """A cell, a published number for the same, and how far apart they are (cell minus published)."""

    cell: Cell
    published: Published

    @property
    def difference(self) -> float:
        return self.cell.mean - self.published.mean


@cache
def load_published() -> tuple[Published, ...]:
    """All entries of the shipped file, in its order: the paper itself first."""
    with FILE.open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(line for line in file if not line.startswith("#")))
    return tuple(_entry(line) for line in lines)


def _entry(line: dict[str, str]) -> Published:
    unit = 0.01 if line["metric"] == "accuracy" else 1.0
    mean, std = (float(line[name]) * unit if line[name] else math.nan for name in ("mean", "std"))
    numbers = {"bits": float(line["bits"]), "mean": mean, "std": std}
    return Published(**{name: value for name, value in line.items() if name not in numbers}, **numbers)  # type: ignore[arg-type]


def matches(cells: Sequence[Cell]) -> list[Match]:
    """Each cell with each published number for its dataset, model, width and method, in the order of the cells."""
    return [
        Match(cell, published)
        for cell in cells
        if cell.field in FIELDS and not math.isnan(cell.mean)
        for published in load_published()
        if _key(cell) == (_name(published.dataset), published.model, published.bits, published.method, published.metric)
    ]


METHODS = {"dq_released": "dq"}
"""Methods of dqrun that published numbers know by the name of another."""


def _key(cell: Cell) -> tuple[str, str, float | None, str, str]:
    row = cell.runs[0].row
    weights, activations = row.get("weight_bits") or 32, row.get("activation_bits") or 32
    ranges = row["quant"].partition("-")[2]  # of rows: nobody published what dqrun's own ranges of rows do
    known = weights == activations and not {"row", "group"} & set(re.split(r"\W|\d", ranges))
    bits = float(weights) if known else None  # of w4a8 nobody published anything
    return _name(row["dataset"]), row["model"], bits, METHODS.get(row["method"], row["method"]), cell.metric


def _name(dataset: str) -> str:
    """CIFAR-10 and CIFAR10 are the same dataset."""
    return "".join(character for character in dataset.casefold() if character.isalnum())
