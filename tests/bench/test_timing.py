"""Turns, peaks and shares; nothing here judges how long something took."""

from __future__ import annotations

import gc
from typing import Any

import numba
import pytest
import torch

from dqrun import kernels
from dqrun.bench import timing


def test_every_round_runs_all_steps_in_a_turning_order() -> None:
    calls: list[tuple[str, int]] = []
    ticks: list[int] = []
    steps = [lambda i, name=name: calls.append((name, i)) for name in "abc"]
    seconds = timing.interleaved(steps, rounds=3, warmup=1, tick=lambda: ticks.append(len(calls)))
    assert calls[:3] == [("a", 0), ("b", 0), ("c", 0)]
    assert [name for name, _ in calls[3:]] == [*"abc", *"bca", *"cab"]
    assert [i for _, i in calls[3:]] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert ticks == list(range(4, 13))  # after each run that is timed
    assert [len(each) for each in seconds] == [3, 3, 3] and min(map(min, seconds)) >= 0


def test_runs_count_when_they_need_no_new_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first three runs write to pages that the system must map; later ones do not."""
    pages, calls = [0], list[int]()

    def step(i: int) -> None:
        calls.append(i)
        pages[0] += timing.FEW_PAGES if len(calls) <= 3 else 1

    monkeypatch.setattr(timing, "_page_faults", lambda: pages[0])
    timing.interleaved([step], rounds=2, warmup=2)
    assert calls == [0, 1, 1, 1, 0, 1]  # four that do not count, and the rounds


def test_garbage_is_collected_between_runs_and_not_within() -> None:
    enabled: list[bool] = []
    assert gc.isenabled()

    def note(_: int = 0) -> None:
        enabled.append(gc.isenabled())

    timing.interleaved([note], rounds=2, warmup=1, tick=note)
    assert enabled == [True, False, True, False, True] and gc.isenabled()
    gc.disable()
    try:
        timing.interleaved([lambda i: None], rounds=1)
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_medians() -> None:
    assert timing.medians([[3.0, 1.0, 2.0], [5.0, 1.0]]) == [2.0, 3.0]


def test_peak_is_what_is_held_at_once() -> None:
    def step(i: int) -> None:
        first = torch.ones(1_000_000)
        del first
        second, third = torch.ones(1_000_000), torch.ones(500_000)
        del second, third

    assert timing.peak_bytes(step) == pytest.approx(6_000_000, rel=0.01)


def test_shares_sum_to_one_and_name_kernels_with_their_backward() -> None:
    x = torch.randn(200, 200, requires_grad=True)
    grid = torch.tensor(0.5), torch.tensor(0, dtype=torch.int32), -8, 7

    def step(i: int) -> None:
        kernels.fake_quantize(x @ x, *grid, None, "clipped").sum().backward()

    found = timing.shares(step)
    assert sum(found.values()) == pytest.approx(1, abs=0.05)
    assert {"fake_quantize", "mm", "other"} <= found.keys()
    assert not any("Backward" in name or "backward" in name for name in found if "quantize" in name)
    *measured, other = found.values()
    assert measured == sorted(measured, reverse=True) and other >= 0


def test_a_run_that_compiles_is_not_timed() -> None:
    """The second round meets a type that the function was not compiled for yet."""
    compiled: Any = numba.njit(lambda x: x + 1)
    values: list[Any] = [1, 1.0, 1j]
    calls: list[int] = []

    def step(i: int) -> None:
        compiled(values[i])
        calls.append(i)

    (seconds,) = timing.interleaved([step], 3, warmup=1)
    assert calls == [0, 0, 0, 1, 1, 2, 2]  # the first one is of the runs that do not count
    assert len(seconds) == 3


def test_a_step_that_always_compiles_ends() -> None:
    runs: list[int] = []

    def step(i: int) -> None:
        compile_function: Any = numba.njit
        compile_function(lambda x: x + 1)(1)
        runs.append(i)

    assert len(timing.interleaved([step], 1, warmup=0)[0]) == 1
    assert len(runs) == timing.MOST_TRIES
