"""`launcher=slurm`: a Slurm job per trial, by submitit. `launcher.cluster=local` runs the jobs as local processes.

Jobs do not depend on this process: if it is killed, they continue and record their rows, and the same command started
again waits for them. `results.dir` must be on a file system that all nodes share.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from dqrun.analysis.progress import Progress
from dqrun.config import RunConfig
from dqrun.extras import require
from dqrun.paths import user_path
from dqrun.sweep.launchers.pool import Answer, Died, Job, attempt, drive, tail_of
from dqrun.sweep.plan import Plan

WANTED_BY = "launcher=slurm"


def check() -> None:
    """Raises ConfigError where submitit is not installed."""
    require("submitit", "slurm", WANTED_BY)


def launch(plan: Plan, progress: Progress) -> None:
    """Runs the plan's trials as jobs, at most `jobs` at a time (0: as many as the cluster takes at once)."""
    submitit = require("submitit", "slurm", WANTED_BY)
    if not plan.to_do:
        return
    config = plan.to_do[0].config
    slots = min(config.jobs or len(plan.to_do), len(plan.to_do))
    plan = plan.with_threads(config.launcher.cpus)
    root = user_path(config.results.dir).absolute()
    folder = Path(tempfile.mkdtemp(prefix=".submitit-", dir=root))
    executor = submitit.AutoExecutor(folder=folder, cluster=config.launcher.cluster)
    executor.update_parameters(**parameters(config))
    jobs: list[Any] = []

    def submit(job: Job) -> _Job:
        jobs.append(executor.submit(attempt, job.parcel()))
        return _Job(jobs[-1])

    try:
        drive(plan, progress, submit, slots)
    finally:
        for unfinished in jobs:
            if not unfinished.done():
                unfinished.cancel()
        shutil.rmtree(folder, ignore_errors=True)


def parameters(config: RunConfig) -> dict[str, Any]:
    """The resources of a job, as submitit's parameters."""
    launcher = config.launcher
    asked: dict[str, Any] = {
        "name": "dqrun",
        "timeout_min": launcher.minutes,
        "cpus_per_task": launcher.cpus,
        "mem_gb": launcher.memory_gb,
        "slurm_partition": launcher.partition,
        "slurm_account": launcher.account,
    }
    if launcher.gpus:
        asked["gpus_per_node"] = launcher.gpus
    return {name: value for name, value in asked.items() if value is not None}


class _Job:
    def __init__(self, job: Any) -> None:
        self._job = job

    def done(self) -> bool:
        return bool(self._job.done())

    def result(self) -> Answer:
        error = self._job.exception()
        if error is None:
            answer: Answer = self._job.result()
            return answer
        if type(error).__name__ == "UncompletedJobError":
            raise Died(f"its job ended before it ({self._job.state})", self._log())
        raise error

    def _log(self) -> str:
        return "\n".join(tail_of(text) for text in (self._job.stdout(), self._job.stderr()) if text)
