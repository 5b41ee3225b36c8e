"""`launcher=parallel jobs=N`: N processes on this machine, started by joblib's loky.

Each process serves trials one after the other and keeps its dataset and compiled kernels. When one dies (killed, out
of memory), its trial is recorded as failed and a new process takes its place; the others do not notice.
"""

from __future__ import annotations

import os
from typing import Any

from dqrun.extras import require
from dqrun.launchers.pool import Answer, Died, Job, attempt, drive
from dqrun.report.progress import Progress
from dqrun.sweep.plan import Plan

WANTED_BY = "launcher=parallel"


def check() -> None:
    """Raises ConfigError where joblib is not installed."""
    require("joblib", "parallel", WANTED_BY)


def launch(plan: Plan, progress: Progress) -> None:
    """Runs the plan's trials in `jobs` processes (0: one per core)."""
    loky = require("joblib.externals.loky", "parallel", WANTED_BY)
    cores = available_cores()
    jobs = plan.to_do[0].config.jobs if plan.to_do else 1
    jobs = min(jobs or cores, max(1, len(plan.to_do)))
    plan = plan.with_threads(max(1, cores // jobs))
    processes = _Processes(loky, jobs)
    try:
        drive(plan, progress, processes.submit, jobs)
    finally:
        processes.stop()


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Processes:
    """`jobs` executors of one process each: when a process dies, it is clear which trial died with it."""

    def __init__(self, loky: Any, jobs: int) -> None:
        self._loky = loky
        self._free: list[Any] = [self._start() for _ in range(jobs)]
        self._all = list(self._free)

    def _start(self) -> Any:
        return self._loky.ProcessPoolExecutor(max_workers=1, context=self._loky.backend.get_context("loky"))

    def submit(self, job: Job) -> _LokyTask:
        executor = self._free.pop()
        return _LokyTask(self, executor, executor.submit(attempt, job))

    def give_back(self, executor: Any, broken: bool) -> None:
        if broken:
            executor.shutdown(wait=False, kill_workers=True)
            self._all.remove(executor)
            executor = self._start()
            self._all.append(executor)
        self._free.append(executor)

    def stop(self) -> None:
        """Ends all processes; the trials of those that are at work keep their checkpoints."""
        for executor in self._all:
            executor.shutdown(wait=False, kill_workers=True)


class _LokyTask:
    def __init__(self, processes: _Processes, executor: Any, future: Any) -> None:
        self._processes, self._executor, self._future = processes, executor, future

    def done(self) -> bool:
        return bool(self._future.done())

    def result(self) -> Answer:
        error = self._future.exception()
        broken = type(error).__name__ in ("TerminatedWorkerError", "BrokenProcessPool")
        self._processes.give_back(self._executor, broken)
        if broken:
            raise Died("its process died (killed, or out of memory)", f"{type(error).__name__}: {error}")
        answer: Answer = self._future.result()
        return answer
