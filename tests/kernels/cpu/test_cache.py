"""Damaged compile caches: the kernel is compiled again, and the next process reads what that one wrote."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import pytest

from dqrun.kernels.cpu.cache import DIGEST_BYTES, MendingCache


def add_one(x: int) -> int:
    return x + 1


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Any]:
    """Makes the kernel as a process does that starts with the present cache folder."""
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))

    def make() -> Any:
        kernel: Any = numba.njit(nogil=True)(add_one)
        kernel._cache = MendingCache(add_one)
        assert kernel(1) == 2
        return kernel

    return make


def compiled(kernel: Any) -> bool:
    """Whether the kernel was compiled, not read."""
    return sum(kernel.stats.cache_hits.values()) == 0


def zeros(data: bytes) -> bytes:
    """What a power loss leaves where the file's length was written and its last block was not."""
    return data[:-64] + bytes(64)


@pytest.mark.parametrize("suffix", ["nbi", "nbc"])
@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[: len(data) // 2],
        lambda data: data[: DIGEST_BYTES // 2],
        zeros,
    ],
)
def test_a_damaged_file_is_replaced(
    tmp_path: Path, start: Callable[[], Any], suffix: str, damage: Callable[[bytes], bytes]
) -> None:
    assert compiled(start())
    assert not compiled(start())
    (path,) = tmp_path.rglob(f"*.{suffix}")
    path.write_bytes(damage(path.read_bytes()))
    assert compiled(start())
    assert not compiled(start())


def test_changed_machine_code_never_runs(tmp_path: Path, start: Callable[[], Any]) -> None:
    start()
    (path,) = tmp_path.rglob("*.nbc")
    data = bytearray(path.read_bytes())
    data[(DIGEST_BYTES + len(data)) // 2] ^= 1
    path.write_bytes(data)
    assert compiled(start())
    assert path.read_bytes() != bytes(data)


def test_a_folder_that_takes_no_files_costs_a_compilation(
    start: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dqrun.kernels.cpu.cache.CheckedFile.save", full)
    assert compiled(start())
    assert compiled(start())
