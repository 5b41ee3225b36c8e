"""The number of CPU cores that this process may use, and of threads that it uses."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path

_QUOTAS = ("cpu.max", "cpu/cpu.cfs_quota_us")
"""Files of a control group that hold its share of CPU time: version 2 (quota and period), version 1 (quota alone)."""


def usable_cores(groups: Path = Path("/sys/fs/cgroup")) -> int:
    """Cores that this process may use, >= 1: by its affinity (taskset, cpusets) and its control group's quota.

    `groups`: where Linux shows the process's own control group.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.ceil(min(cores, _quota(groups))))


def _quota(groups: Path) -> float:
    """CPU seconds per second that the control group may use; infinite where nothing limits it."""
    for name in _QUOTAS:
        try:
            quota, *rest = (groups / name).read_text(encoding="ascii").split()
            period = rest[0] if rest else (groups / "cpu/cpu.cfs_period_us").read_text(encoding="ascii")
            if quota != "max" and int(quota) > 0:
                return int(quota) / int(period)
        except (OSError, ValueError):  # not Linux, no such controller
            continue
    return math.inf


def use_threads(wanted: int, say: Callable[[str], None]) -> None:
    """Lets torch and the kernels use `wanted` threads (0: one per usable core), but no more than there are cores.

    `say` gets a line if fewer threads are used than `wanted`. More threads than cores do not help, and many more can
    crash the process inside the OpenMP library.
    """
    import torch  # here, not above: cores are counted before a command line is checked

    cores = usable_cores()
    if wanted > cores:
        say(f"threads={wanted} is more than the usable CPU cores: {cores} used")
    torch.set_num_threads(min(wanted or cores, cores))
