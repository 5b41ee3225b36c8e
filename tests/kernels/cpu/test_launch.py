"""How work is split, and what happens where nothing can be cached."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numba
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dqrun.kernels.cpu import launch
from dqrun.kernels.cpu.cache import MendingCache

share, first_at_least = (launch.driver(function.py_func) for function in (launch.share, launch.first_at_least))


@given(st.integers(1, 9), st.integers(0, 2**40))
def test_shares_are_even_and_cover_everything(num_parts: int, total: int) -> None:
    shares = [share(part, num_parts, total) for part in range(num_parts)]
    assert shares[0][0] == 0 and shares[-1][1] == total
    assert all(left[1] == right[0] for left, right in pairwise(shares))
    sizes = [stop - start for start, stop in shares]
    assert max(sizes) - min(sizes) <= 1


@given(st.lists(st.integers(-5, 5)).map(sorted), st.integers(-6, 6))
def test_first_at_least_is_searchsorted(ascending: list[int], value: int) -> None:
    places = np.array(ascending, np.int64)
    assert first_at_least(places, value) == np.searchsorted(places, value)


def test_parts_follow_torchs_threads_and_the_work(num_threads: int) -> None:
    assert launch.parts(10) == 1
    assert launch.parts(10**7) <= num_threads
    assert launch.parts(10**7) == min(num_threads, numba.config.NUMBA_NUM_THREADS)


def test_kernels_work_where_no_cache_folder_is_writable(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def refuse(function: object) -> None:
        asked.append(function)
        raise RuntimeError("cannot cache function: no locator available")  # numba's own words

    monkeypatch.setattr(launch, "MendingCache", refuse)

    x = np.ones(3, np.float32)
    launch.kernel(double)(2, x)
    assert x.tolist() == [2, 2, 2] and asked == [double]


@pytest.mark.parametrize("make", [launch.kernel, launch.driver])
def test_machine_code_is_kept_in_a_mending_cache(make: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    compile_function = launch.numba.njit
    monkeypatch.setattr(
        launch.numba, "njit", lambda **options: lambda f: made.append(compile_function(**options)(f)) or made[-1]
    )
    make(double)
    assert isinstance(made[-1]._cache, MendingCache)


def double(part: int, num_parts: int, x: launch.Array) -> None:
    first, last = launch.share(part, num_parts, x.size)
    for i in range(first, last):
        x[i] *= 2


@launch.kernel
def mark(part: int, num_parts: int, of: Any, factor: Any, marks: launch.Array) -> None:
    """of: a tuple of an array and a number, in another one."""
    (values, first), last = of
    memory = np.empty(last, np.int64)
    memory[part] = np.int64(factor * values[part]) + first
    marks[part] = memory[part]


@pytest.mark.parametrize("num_parts", [1, 3])
def test_each_part_of_a_kernel_gets_its_arguments(num_parts: int) -> None:
    marks = np.zeros(4, np.int64)
    mark(num_parts, ((np.arange(4.0, dtype=np.float32), 7), 9), 2.5, marks)
    assert marks.tolist() == [7, 9, 12, 0][:num_parts] + [0] * (4 - num_parts)


def test_a_part_that_finds_no_memory_is_told_of() -> None:
    marks = np.zeros(4, np.int64)
    with pytest.raises(MemoryError, match="a kernel found no memory"):
        mark(1, ((np.zeros(4, np.float32), 0), 2**58), 1.0, marks)
    mark(1, ((np.zeros(4, np.float32), 5), 9), 1.0, marks)
    assert marks[0] == 5  # and the next call is another one's


def test_array_shares_memory_with_a_contiguous_tensor() -> None:
    x = torch.zeros(2, 3, requires_grad=True)
    launch.array(x)[4] = 1
    assert x[1, 1] == 1
