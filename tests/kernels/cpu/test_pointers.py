"""Pointers read and write the arrays' own memory, from views too."""

from typing import Any

import numpy as np

from dqrun.kernels.cpu.launch import driver
from dqrun.kernels.cpu.pointers import hold, pointers


@driver
def add(x: Any, y: Any, factor: Any) -> None:
    x_at, y_at, times = pointers((x, y, factor))
    for i in range(x.size):
        y_at[i] += times * x_at[i]
    hold((x, y))


@driver
def sum_of_temporary(size: int) -> Any:
    values = np.ones(size, np.float32)
    (at,) = pointers((values,))
    total = np.float32(0)
    for i in range(size):
        total += at[i]
    hold((values,))
    return total


def test_reads_and_writes_in_place_and_passes_numbers() -> None:
    x, y = np.arange(5, dtype=np.float32), np.ones((2, 5), np.float32)
    add(x, y[1], np.float32(2))
    assert y.tolist() == [[1, 1, 1, 1, 1], [1, 3, 5, 7, 9]]


def test_held_arrays_live() -> None:
    assert sum_of_temporary(1000) == 1000
