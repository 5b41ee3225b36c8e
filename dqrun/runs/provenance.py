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
    first returned to the system, so that a trial's figure does not depend on earlier trials. When the system needs
    memory, it drops pages of files (libraries, mapped data) that the process does not use at that time; such pages are
    not subtracted, because they would hide as much memory of the trial.
    """

    def __init__(self, device: str) -> None:
        self.device = device
        return_freed_memory()
        if device == "cuda":
            torch.cuda.reset_peak_memory_stats()
            self._allocated_before = torch.cuda.memory_allocated()
        else:
            self._resident_before = _reset_resident_peak()

    def bytes(self) -> int | None:
        """The peak so far; None if the system cannot reset the peak of a process."""
        if self.device == "cuda":
            return torch.cuda.max_memory_allocated() - self._allocated_before
        before, now = self._resident_before, _resident_memory()
        if before is None or now is None:
            return None
        of_files = min(before["RssFile"], now["RssFile"])
        return max(now["VmHWM"] - before["VmRSS"] + before["RssFile"] - of_files, 0)


def _reset_resident_peak() -> dict[str, int] | None:
    """Resets the peak of resident memory to the present value; `_resident_memory`, or None if that is not possible."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:  # not Linux, or a container that forbids it
        return None
    return _resident_memory()


def _resident_memory() -> dict[str, int] | None:
    """Bytes of resident memory: VmRSS now, VmHWM its peak, RssFile pages of files; None if they cannot be read."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    fields = (line.split() for line in lines)
    known = {words[0][:-1]: int(words[1]) * 1024 for words in fields if words[0] in ("VmRSS:", "VmHWM:", "RssFile:")}
    return known if len(known) == 3 else None
