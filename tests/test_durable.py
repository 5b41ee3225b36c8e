"""Files that are replaced whole: what a failure at each step leaves."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dqrun import durable
from dqrun.durable import clear_parts, replacing, sync_tree, write_bytes, write_text


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "result.csv"
    path.write_text("old")
    return path


@pytest.fixture
def umask() -> Iterator[Callable[[int], int]]:
    before = os.umask(0o022)
    yield os.umask
    os.umask(before)


def fail(*_: object, **__: object) -> None:
    raise OSError(errno.EIO, "Input/output error")


def test_a_block_that_ends_well_replaces_the_file(old: Path) -> None:
    with replacing(old) as part:
        assert part.parent == old.parent and part.suffix == ".csv"
        part.write_text("new")
        assert old.read_text() == "old"
    assert old.read_text() == "new" and list(old.parent.iterdir()) == [old]


def test_text_is_utf8_and_lines_stay(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "é\n\r\n")
    assert (tmp_path / "a").read_bytes() == b"\xc3\xa9\n\r\n"


@pytest.mark.parametrize("step", ["sync_file", "os.fsync", "Path.replace", "Path.write_bytes"])
def test_a_failure_at_any_step_leaves_the_old_file_alone(old: Path, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"dqrun.durable.{step}", fail)
    with pytest.raises(OSError, match="Input/output"):
        write_bytes(old, b"new")
    assert old.read_bytes() == b"old" and list(old.parent.iterdir()) == [old]


def test_an_interrupt_leaves_the_old_file_alone(old: Path) -> None:
    with pytest.raises(KeyboardInterrupt), replacing(old) as part:
        part.write_text("half")
        raise KeyboardInterrupt
    assert old.read_text() == "old" and list(old.parent.iterdir()) == [old]


def test_content_reaches_the_disk_before_the_name_and_the_folder_after_it(
    old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def record_sync(handle: int) -> None:
        steps.append("folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file")
        fsync(handle)

    def record_rename(path: Path, target: Path) -> Path:
        steps.append("rename")
        return replace(path, target)

    monkeypatch.setattr(durable.os, "fsync", record_sync)
    monkeypatch.setattr(Path, "replace", record_rename)
    write_text(old, "new")
    assert steps == ["file", "rename", "folder"]


@pytest.mark.parametrize(("mask", "mode"), [(0o002, 0o664), (0o022, 0o644), (0o077, 0o600)])
def test_permissions_are_those_of_a_new_file(tmp_path: Path, umask: Callable[[int], int], mask: int, mode: int) -> None:
    umask(mask)
    write_text(tmp_path / "a", "")
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == mode


def test_a_link_stays_and_its_file_is_replaced(old: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.csv"
    link.symlink_to(old)
    write_text(link, "new")
    assert link.is_symlink() and old.read_text() == "new"


def test_a_pipe_gets_the_content(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_text(pipe, "new")
    assert os.read(reader, 10) == b"new" and stat.S_ISFIFO(pipe.stat().st_mode)
    os.close(reader)


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        write_text(tmp_path, "new")
    assert list(tmp_path.iterdir()) == []


def test_long_names_have_parts(tmp_path: Path) -> None:
    path = tmp_path / ("é" * 125 + ".csv")
    write_text(path, "new")
    assert path.read_text() == "new"


def test_parts_of_a_killed_process_are_cleared_and_no_others(old: Path) -> None:
    left = durable._new_part(old)
    other = durable._new_part(old.with_name("result.html"))
    clear_parts(old)
    assert not left.exists() and other.exists() and old.exists()


def test_a_tree_reaches_the_disk_with_all_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "inner").mkdir()
    for name in ("a", "inner/b"):
        (tmp_path / name).touch()
    synced: set[int] = set()
    monkeypatch.setattr(durable.os, "fsync", lambda handle: synced.add(os.fstat(handle).st_ino))
    sync_tree(tmp_path)
    assert synced == {path.stat().st_ino for path in (tmp_path, *tmp_path.rglob("*"))}
