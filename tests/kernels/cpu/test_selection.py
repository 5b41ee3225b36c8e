"""Selection against sorting."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dqrun.kernels.cpu import selection
from dqrun.kernels.cpu.launch import driver
from dqrun.kernels.cpu.selection import HISTOGRAM

from_ordered, select, to_ordered = (
    driver(function.py_func) for function in (selection.from_ordered, selection.select, selection.to_ordered)
)

floats = st.floats(width=32, allow_nan=False)


@given(floats, floats)
def test_integers_order_as_their_floats(a: float, b: float) -> None:
    first, second = to_ordered(np.float32(a)), to_ordered(np.float32(b))
    assert from_ordered(first) == np.float32(a)
    if a < b:
        assert first < second


@given(st.lists(st.tuples(floats, st.integers(0, 3)), min_size=1, max_size=30))
def test_select_finds_every_rank(elements: list[tuple[float, int]]) -> None:
    values = np.array([value for value, _ in elements], np.float32)
    counts = np.array([count for _, count in elements], np.int64)
    expected = np.sort(np.repeat(values, counts))

    def found(rank: int) -> float:
        histogram = np.full(HISTOGRAM, 7)
        return select(values.copy(), values.size, counts.copy(), True, histogram, rank)  # which it overwrites

    assert [found(rank) for rank in range(expected.size)] == expected.tolist()
