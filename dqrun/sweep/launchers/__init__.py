"""Where the trials of a sweep run: here, in processes of this machine, one or several a trial, on Slurm, on Ray."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence

from dqrun.analysis.progress import Progress
from dqrun.config import RunConfig
from dqrun.errors import ConfigError
from dqrun.sweep.plan import Plan

Launch = Callable[[Plan, Progress], None]
_MODULES = {"plain": "plain", "parallel": "parallel", "slurm": "slurm", "ray": "ray_cluster", "torchrun": "torchrun"}


def launcher_for(configs: Sequence[RunConfig]) -> Launch:
    """The launcher that all configurations name.

    Raises ConfigError if they name different launchers, or one whose package is not installed.
    """
    first = configs[0]
    for config in configs:
        if (config.launcher, config.jobs, config.processes) != (first.launcher, first.jobs, first.processes):
            raise ConfigError("launcher, jobs and processes must be the same for all configurations of a sweep")
    module = importlib.import_module(f"dqrun.sweep.launchers.{_MODULES[first.launcher.name]}")
    module.check()
    launch: Launch = module.launch
    return launch
