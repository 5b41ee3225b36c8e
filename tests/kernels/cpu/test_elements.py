"""Rows of a multiset: where they begin, their factor and their count."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dqrun.kernels.cpu.elements import present, row_of
from dqrun.kernels.cpu.launch import NO_FLOATS, NO_INTEGERS, driver
from dqrun.kernels.cpu.pointers import hold, pointers

NO_BYTES = np.empty(0, np.uint8)
X = np.arange(12, dtype=np.float32)
SOURCE, COUNT, KEEP = np.array([2, 0, 2, 1]), np.array([3, 0, 5]), np.array([0, 0, 1], np.uint8)


@driver
def row(elements: Any, which: int) -> tuple[Any, Any, Any]:
    found = row_of(pointers(elements), present(elements), which)
    hold(elements[:5])
    return found


@pytest.mark.parametrize("which", range(4))
def test_messages_of_one_head(which: int) -> None:
    factor = np.array([0.5, 1.0, -1.0, 2.0], np.float32)
    source = int(SOURCE[which])
    expected = (source * 4, factor[which], 0 if KEEP[source] else 1)
    assert row((X, SOURCE, factor, NO_INTEGERS, KEEP, 1, 4), which) == expected


@pytest.mark.parametrize("which", range(8))
def test_messages_of_two_heads(which: int) -> None:
    factor = np.arange(8, dtype=np.float32)
    source = int(SOURCE[which // 2])
    assert row((X, SOURCE, factor, NO_INTEGERS, NO_BYTES, 2, 2), which) == ((source * 2 + which % 2) * 2, which, 1)


def test_rows_that_count_several_times_or_not() -> None:
    elements = (X, NO_INTEGERS, NO_FLOATS, COUNT, KEEP, 1, 4)
    assert [row(elements, which) for which in range(3)] == [(0, 1, 3), (4, 1, 0), (8, 1, 0)]
