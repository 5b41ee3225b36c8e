"""Measuring steps side by side: interleaved times, peak memory, where the time goes."""

from __future__ import annotations

import contextlib
import gc
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from numba.core import event as events_of_numba
from torch.profiler import ProfilerActivity, profile

from dqrun.bench.progress import Tick
from dqrun.process.cores import use_threads

_events: Any = events_of_numba  # untyped in numba
Step = Callable[[int], object]  # runs round i
MOST_TRIES = 10  # repetitions until a run compiles nothing
FEW_PAGES = 256  # 1 MiB
LONGEST = 1.0  # seconds after which the warm-up ends, even if runs still need new memory


def interleaved(steps: Sequence[Step], rounds: int, warmup: int = 2, tick: Tick = lambda: None) -> list[list[float]]:
    """Seconds of each round of each step; every round runs all steps, so that a slow machine slows all.

    Each round begins with another step: round i with step i modulo their number. `tick` is called after each timed
    run. A run in which numba compiled a kernel, or read one from the cache, is repeated, so that its time is not in the
    result. Python's garbage collector is off during a run: it visits 300,000 objects, which takes longer than a run of
    an integer program.
    """
    for step in steps:
        _warm_up(step, warmup)
    gc.collect()
    seconds: list[list[float]] = [[] for _ in steps]
    for i in range(rounds):
        for j in range(len(steps)):
            which = (i + j) % len(steps)
            seconds[which].append(_seconds(steps[which], i))
            tick()
    return seconds


def _warm_up(step: Step, runs: int) -> None:
    """Runs the step without timing: `runs` times, and more until a run compiles nothing and needs little new memory.

    After a compilation the C library allocates results in new memory for some runs, and the system maps each of its
    pages: this takes 14 ms where sums over edges take 6 ms. Some networks need new memory in each run, so that the
    number of further runs is limited by MOST_TRIES and LONGEST.
    """
    for i in range(runs - 1):
        step(i)
    started = time.perf_counter()
    for _ in range(MOST_TRIES if runs else 0):
        with _compilations() as compiled:
            before = _page_faults()
            step(runs - 1)
            new = _page_faults() - before
        if (not compiled.buffer and new < FEW_PAGES) or time.perf_counter() - started > LONGEST:
            break


def _page_faults() -> int:
    """Minor page faults of this process so far; 0 on Windows, which lacks this number."""
    if sys.platform == "win32":
        return 0
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def _seconds(step: Step, i: int) -> float:
    """Seconds of the first run that compiles nothing; of the last one if all MOST_TRIES runs compile."""
    taken = 0.0
    for _ in range(MOST_TRIES):
        with _compilations() as compiled, _no_collection():
            started = time.perf_counter()
            step(i)
            taken = time.perf_counter() - started
        if not compiled.buffer:
            break
    return taken


@contextlib.contextmanager
def _compilations() -> Iterator[Any]:
    """Yields a listener; its buffer is empty if numba neither compiles nor loads a kernel within the block."""
    listener = _events.RecordingListener()
    _events.register("numba:compiler_lock", listener)
    try:
        yield listener
    finally:
        _events.unregister("numba:compiler_lock", listener)


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """Switches Python's cyclic garbage collector off within the block."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def medians(seconds: Sequence[Sequence[float]]) -> list[float]:
    """The median of each list."""
    return [statistics.median(each) for each in seconds]


def peak_bytes(step: Step) -> int:
    """Peak memory of round 0 of a step in torch's CPU allocator, in bytes beyond what was allocated before it."""
    with _profiled(profile_memory=True) as recorded:
        step(0)
    events: list[Any] = [event for event in recorded.profiler.kineto_results.events() if event.name() == "[memory]"]  # type: ignore[union-attr]
    held = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak


def shares(step: Step, rounds: int = 3) -> dict[str, float]:
    """The share of each operation in a step's time, the largest first, then "other".

    An operation and its backward pass are counted together. "other": time that the profiler does not record, e.g. of
    Python.
    """
    step(0)
    with _profiled() as recorded:
        started = time.perf_counter()
        for i in range(rounds):
            step(i)
        total = time.perf_counter() - started
    seconds: dict[str, float] = {}
    for event in recorded.key_averages():
        name = _operation(event.key)
        seconds[name] = seconds.get(name, 0.0) + event.self_cpu_time_total * 1e-6
    found = {name: value / total for name, value in sorted(seconds.items(), key=lambda item: -item[1])}
    return {**found, "other": max(0.0, 1.0 - sum(found.values()))}


def _operation(name: str) -> str:
    """`_SpmmBackward` -> `spmm`, `dqrun::spmm_weight_backward` -> `spmm`, `aten::mm` -> `mm`."""
    plain = (
        name.removeprefix("aten::")
        .removeprefix("dqrun::")
        .removeprefix("integer_")
        .removeprefix("mkldnn::")
        .lstrip("_")
    )
    plain = plain.removesuffix("Backward").removesuffix("Backward0")
    for part in ("_backward", "_weight", "_scale", "_cachemask", "_coded") if name.startswith("dqrun::") else ():
        plain = plain.removesuffix(part)
    return "".join("_" + c.lower() if c.isupper() else c for c in plain).lstrip("_")


@contextlib.contextmanager
def _profiled(profile_memory: bool = False) -> Iterator[profile]:
    """torch's profiler for CPU, without the lines that some builds print to stderr at each start and stop."""
    with (
        _stderr_closed(),
        profile(activities=[ProfilerActivity.CPU], profile_memory=profile_memory) as recorded,
    ):
        yield recorded


@contextlib.contextmanager
def _stderr_closed() -> Iterator[None]:
    before, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        yield
    finally:
        os.dup2(before, 2)
        os.close(before)
        os.close(null)


def set_threads(threads: int) -> None:
    """Sets the threads of all variants; 0: one per usable core. Never more than there are usable cores."""
    use_threads(threads, partial(print, file=sys.stderr))
