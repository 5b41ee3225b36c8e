"""Columns of a row about the machine and the code of the trial."""

from __future__ import annotations

import platform
import subprocess
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from dqrun.config import RunConfig
from dqrun.plugins import versions_of
from dqrun.process.memory import return_freed_memory


@lru_cache(maxsize=1)
def versions() -> dict[str, Any]:
    """Versions of dqrun, torch and PyG, as row columns."""
    return {
        "dqrun_version": version("dqrun"),
        "torch_version": str(torch.__version__),  # plain text, not TorchVersion: checkpoints hold no classes
        "pyg_version": version("torch-geometric"),
    }


def code_version(config: RunConfig) -> str:
    """Version of dqrun, and of the plug-ins that a run uses: `0.2.0, mine.py 1f0c4e2a9b3d5e77`."""
    return ", ".join([version("dqrun"), *(f"{name} {known}" for name, known in versions_of(config).items())])


@lru_cache(maxsize=1)
def processor() -> str:
    """Name of the CPU's model as the system reports it, else empty."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


@lru_cache(maxsize=1)
def git_revision() -> str:
    """Commit of the checkout that dqrun runs from, with `+` when it has changes; empty outside a checkout."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return ""

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        return git("rev-parse", "--short=12", "HEAD") + ("+" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.CalledProcessError):
        return ""


class PeakMemory:
    """Peak increase of memory since construction, in bytes: allocated memory on a GPU, else resident memory.

    Memory in use at construction (code, data, on the CPU also memory of earlier trials) is not counted. Freed memory is
    first returned to the system, so that a trial's figure does not depend on earlier trials.
    """

    def __init__(self, device: str) -> None:
        self.device = device
        return_freed_memory()
        if device == "cuda":
            torch.cuda.reset_peak_memory_stats()
            self._before: int | None = torch.cuda.memory_allocated()
        else:
            self._before = _reset_resident_peak()

    def bytes(self) -> int | None:
        """The peak so far; None if the system cannot reset the peak of a process."""
        if self._before is None:
            return None
        peak = torch.cuda.max_memory_allocated() if self.device == "cuda" else _resident_peak()
        return None if peak is None else max(peak - self._before, 0)


def _reset_resident_peak() -> int | None:
    """Resets the peak of resident memory to the present value and returns it; None if that is not possible."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:  # not Linux, or a container that forbids it
        return None
    return _resident_peak()


def _resident_peak() -> int | None:
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), None)
