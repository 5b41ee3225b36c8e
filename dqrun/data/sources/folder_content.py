"""What a user's folder says, whatever its format, and the rules that both formats share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dqrun.errors import DataError

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]
Place = Callable[[int], str]  # names the file and the line (or array element) of a row


@dataclass(frozen=True)
class UserGraphs:
    """Checked content of a folder with G graphs, N nodes and E edges."""

    source: Ints  # [E] row of a node
    target: Ints  # [E] row of a node
    node_graph: Ints  # [N] graph of each node, each of 0..G-1 at least once, in any order
    x: Floats | None  # [N, F]
    y: NDArray[Any]  # [G] or [N]: int64 classes or float32 targets
    num_classes: int  # 0 for regression
    parts: dict[str, Ints] | None  # ids of train, val and test: graphs, or nodes for node tasks


def targets(values: NDArray[Any], regression: bool, place: Place) -> tuple[NDArray[Any], int]:
    """Labels (numbers, one per row) as float32 targets, or int64 classes with their number.

    Raises DataError for an empty file, a value that is not finite, a class that is no integer >= 0, and a gap: all
    of 0..C-1 must occur, C >= 2.
    """
    if values.size == 0:
        raise DataError(f"{place(0)}: no label is there")
    first_bad(~np.isfinite(values), place, "label must be a finite number", values)
    if regression:
        return values.astype(np.float32), 0
    first_bad((values < 0) | (values != np.floor(values)), place, "label must be an integer >= 0", values)
    y = values.astype(np.int64)
    classes = np.unique(y)
    gap = np.flatnonzero(classes != np.arange(classes.size))
    if gap.size:
        row = int(np.flatnonzero(y == classes[gap[0]])[0])
        raise DataError(f"{place(row)}: labels must be 0..C-1 without a gap, got {y[row]} but no {gap[0]}")
    if classes.size < 2:
        raise DataError(f"{place(0)}: labels must have at least 2 classes, got only {y[0]}")
    return y, int(classes.size)


def first_bad(bad: NDArray[np.bool_], place: Place, rule: str, values: NDArray[Any] | None = None) -> None:
    """Raises DataError for the first row of `bad` that is true: where, the rule, and what is there instead."""
    rows = np.flatnonzero(bad)
    if rows.size:
        row = int(rows[0])
        got = "" if values is None else f", got {values[row]}"
        raise DataError(f"{place(row)}: {rule}{got}")
