"""What a row says of the machine and the code that made it."""

from __future__ import annotations

import platform
import resource
import subprocess
import sys
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch


@lru_cache(maxsize=1)
def versions() -> dict[str, Any]:
    """Versions of dqrun, torch and PyG, as row columns."""
    return {
        "dqrun_version": version("dqrun"),
        "torch_version": str(torch.__version__),  # plain text, not TorchVersion: checkpoints hold no classes
        "pyg_version": version("torch-geometric"),
    }


@lru_cache(maxsize=1)
def processor() -> str:
    """Name of the CPU's model, as the system tells it; empty where it does not."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


@lru_cache(maxsize=1)
def git_revision() -> str:
    """Commit of the checkout that dqrun runs from, with `+` when it has changes; empty outside a checkout."""
    root = Path(__file__).resolve().parent.parent
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
    """Largest memory in use since construction: allocated on the GPU, else resident memory of this process."""

    def __init__(self, device: str) -> None:
        self.device = device
        if device == "cuda":
            torch.cuda.reset_peak_memory_stats()
            return
        try:
            Path("/proc/self/clear_refs").write_text("5")  # Linux: resets VmHWM
            self._resettable = True
        except OSError:
            self._resettable = False

    def bytes(self) -> int:
        """The peak so far; where the system can't reset it, that of the process's whole life."""
        if self.device == "cuda":
            return torch.cuda.max_memory_allocated()
        if self._resettable:
            for line in Path("/proc/self/status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
