"""Memory that is kept."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

from dqrun import memory


class Library:
    """A C library that remembers how mallopt was called."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, int]] = []

    def mallopt(self, parameter: int, value: int) -> int:
        self.calls.append((parameter, value))
        return 1


def test_asks_the_library_for_both(monkeypatch: pytest.MonkeyPatch) -> None:
    library = Library()
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: library)
    memory.keep_freed_memory()
    assert library.calls == [(-4, 0), (-1, 2**31 - 1)]  # M_MMAP_MAX, M_TRIM_THRESHOLD of malloc.h


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_leaves_other_systems_alone(platform: str, monkeypatch: pytest.MonkeyPatch) -> None:
    library = Library()
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: library)
    memory.keep_freed_memory()
    assert library.calls == []


def test_a_library_without_it_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    memory.keep_freed_memory()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts page faults with GNU's library on Linux")
def test_a_tensor_of_the_same_size_faults_no_page_anew() -> None:
    code = """
import resource, torch
from dqrun.memory import keep_freed_memory
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(8_000_000)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
keep_freed_memory(); faults(); print(faults())
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert int(done.stdout) < 1000  # 32 MB are 7813 pages
