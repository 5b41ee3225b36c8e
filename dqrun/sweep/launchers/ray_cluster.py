"""`launcher=ray`: a Ray task per trial, on a cluster (`launcher.address`) or on one that is started here for the sweep.

All nodes need dqrun installed and `results.dir` on a file system that they share.
"""

from __future__ import annotations

import os
import socket
from typing import Any

from dqrun.analysis.progress import Progress
from dqrun.config import RunConfig
from dqrun.errors import ConfigError
from dqrun.extras import require
from dqrun.process.cores import usable_cores
from dqrun.sweep.launchers.pool import Answer, Died, Job, attempt, drive
from dqrun.sweep.plan import Plan

WANTED_BY = "launcher=ray"


def check() -> None:
    """Raises ConfigError where Ray is not installed."""
    require("ray", "ray", WANTED_BY)


def launch(plan: Plan, progress: Progress) -> None:
    """Runs the plan's trials as Ray tasks, at most `jobs` at a time (0: as many as the cluster has CPUs for)."""
    if not plan.to_do:
        return
    config = plan.to_do[0].config
    ray = _connect(config)
    try:
        room = int(ray.cluster_resources().get("CPU", 1)) // config.launcher.cpus
        slots = max(1, min(config.jobs or room, len(plan.to_do)))
        plan = plan.with_threads(config.launcher.cpus)
        task = ray.remote(num_cpus=config.launcher.cpus, num_gpus=config.launcher.gpus, max_retries=0)(attempt)

        def submit(job: Job) -> _RayTask:
            return _RayTask(ray, task.remote(job.parcel()))

        drive(plan, progress, submit, slots)
    finally:
        ray.shutdown()


def _connect(config: RunConfig) -> Any:
    """Ray, connected to the cluster of the configuration; raises ConfigError if there is none at its address."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # keep CUDA_VISIBLE_DEVICES; and do not warn
    ray = require("ray", "ray", WANTED_BY)
    address = config.launcher.address
    if address is not None and ":" in address and "//" not in address:
        _knock(address)
    own: dict[str, Any] = {"num_cpus": max(usable_cores(), config.launcher.cpus), "include_dashboard": False}
    try:
        ray.init(address=address or "local", logging_level="error", log_to_driver=False, **({} if address else own))
    except Exception as error:  # nothing there, a wrong address, no token, another version: each has its own class
        reason = str(error).strip().partition("\n")[0]
        raise ConfigError(f"launcher.address must be that of a Ray cluster, got {address!r} ({reason})") from error
    return ray


def _knock(address: str) -> None:
    """Raises ConfigError if nothing listens at HOST:PORT; Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, ValueError) as error:
        raise ConfigError(f"launcher.address must be that of a Ray cluster, got {address!r} ({error})") from error


class _RayTask:
    def __init__(self, ray: Any, reference: Any) -> None:
        self._ray, self._reference = ray, reference

    def done(self) -> bool:
        return bool(self._ray.wait([self._reference], timeout=0)[0])

    def result(self) -> Answer:
        errors = self._ray.exceptions
        try:
            answer: Answer = self._ray.get(self._reference)
        except errors.RayTaskError as error:
            raise error.cause if isinstance(error.cause, Exception) else error from None
        except errors.RayError as error:
            raise Died("its process died (killed, or out of memory)", str(error)) from None
        return answer
