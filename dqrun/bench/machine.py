"""Describes the machine and the software versions of a benchmark."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version

import torch

from dqrun.runs.provenance import git_revision, processor, versions


def describe() -> dict[str, object]:
    """Processor, cores, threads and versions."""
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "vector_instructions": torch.backends.cpu.get_cpu_capability(),
        "system": platform.system(),
        "python_version": platform.python_version(),
        "numba_version": version("numba"),
        **versions(),
        "git_revision": git_revision(),
    }
