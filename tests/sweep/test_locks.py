"""Locks: one owner at a time, whoever dies at whatever moment."""

import errno
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from dqrun.errors import ResultsError
from dqrun.sweep.locks import (
    STALE,
    Heartbeat,
    LockFault,
    LockFile,
    LockLost,
    is_stale,
    read_owner,
    remove_orphans,
)
from dqrun.sweep.owner import Owner


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "locks" / "r0.lock"


def names(path: Path) -> list[str]:
    return sorted(os.listdir(path.parent))


def plant(path: Path, owner: Owner, age: float = 0.0) -> None:
    """A lock that somebody else made `age` seconds ago."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(owner.to_json())
    os.utime(path, (time.time() - age, time.time() - age))


def dead() -> Owner:
    return replace(Owner.new("task 1"), pid=2**22 + 1, started="")


def remote() -> Owner:
    return replace(Owner.new(), machine="elsewhere")


def test_one_owner_at_a_time(path: Path) -> None:
    first, second = LockFile(path), LockFile(path)
    assert first.acquire() and not second.acquire()
    assert first.is_mine() and not second.is_mine()
    first.release()
    assert names(path) == []
    assert second.acquire()


def test_a_dead_owners_lock_is_taken_over_at_once(path: Path) -> None:
    plant(path, dead())
    lock = LockFile(path)
    assert lock.acquire() and lock.is_mine()
    assert names(path) == ["r0.lock"]


def test_another_machines_lock_is_taken_over_when_its_heart_stops(path: Path) -> None:
    plant(path, remote(), age=STALE - 20)
    assert not LockFile(path).acquire()
    plant(path, remote(), age=STALE + 20)
    assert LockFile(path).acquire()


def test_a_touch_keeps_a_lock_alive(path: Path) -> None:
    lock = LockFile(path)
    lock.acquire()
    os.utime(path, (1.0, 1.0))
    owner = read_owner(path)
    assert owner is not None and is_stale(path, owner)
    assert lock.touch() and not is_stale(path, owner)


def test_a_task_known_to_be_dead_loses_its_lock(path: Path) -> None:
    plant(path, replace(remote(), label="task 1"))
    assert not LockFile(path).acquire(dead="task 2")
    assert LockFile(path).acquire(dead="task 1")


def test_an_owner_that_wakes_up_too_late_leaves_the_new_lock_alone(path: Path) -> None:
    sleeper, other = LockFile(path), LockFile(path)
    sleeper.acquire()
    os.utime(path, (1.0, 1.0))
    assert other.acquire()
    assert not sleeper.touch()
    sleeper.release()
    assert other.is_mine()


def test_a_process_that_died_while_taking_over_is_taken_over_itself(path: Path) -> None:
    old = dead()
    plant(path, old)
    plant(path.with_name(f"r0.lock.{old.token}"), dead())
    plant(path.with_name(".r0.lock.abc"), dead())
    lock = LockFile(path)
    assert lock.acquire()
    assert names(path) == ["r0.lock"]
    lock.release()
    assert names(path) == []


def test_a_takeover_under_way_is_left_alone(path: Path) -> None:
    old = dead()
    plant(path, old)
    plant(path.with_name(f"r0.lock.{old.token}"), Owner.new())
    assert not LockFile(path).acquire()


def test_a_damaged_lock_counts_as_taken_until_it_is_old(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("")
    assert not LockFile(path).acquire()
    os.utime(path, (1.0, 1.0))
    assert LockFile(path).acquire()


@pytest.mark.parametrize("content", [b"\xff\xfe", b"{}", b"[" * 20000, b'{"token": 3}'])
def test_whatever_a_damaged_lock_holds(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    assert not LockFile(path).acquire()
    os.utime(path, (1.0, 1.0))
    assert LockFile(path).acquire() and names(path) == ["r0.lock"]


def test_a_folder_or_a_pipe_in_the_place_of_a_lock_is_named_and_left_alone(path: Path) -> None:
    path.mkdir(parents=True)
    with pytest.raises(LockFault, match=r"r0\.lock is no lock but a folder or device: remove it"):
        LockFile(path).acquire()
    path.rmdir()
    os.mkfifo(path)
    os.utime(path, (1.0, 1.0))
    with pytest.raises(LockFault, match="is no lock"):
        LockFile(path).acquire()
    path.unlink()
    path.symlink_to(path)
    with pytest.raises(LockFault, match="is no lock"):
        LockFile(path).acquire()
    assert names(path) == ["r0.lock"]


def test_foreign_things_beside_a_lock_do_not_matter(path: Path) -> None:
    path.with_name("r0.lock.old").mkdir(parents=True)
    path.with_name("notes.txt").write_text("mine")
    os.utime(path.with_name("notes.txt"), (1.0, 1.0))
    lock = LockFile(path)
    assert lock.acquire() and lock.is_mine()
    lock.release()
    remove_orphans(path.parent)
    assert names(path) == ["notes.txt", "r0.lock.old"]


def test_a_lock_that_became_a_folder_is_lost(path: Path) -> None:
    lock = LockFile(path)
    lock.acquire()
    path.unlink()
    path.mkdir()
    assert not lock.is_mine() and not lock.touch()
    lock.release()
    assert names(path) == ["r0.lock"]


def test_a_file_system_that_fails_is_told_when_a_lock_is_confirmed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: LockFile) -> bool:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(LockFile, "is_mine", fail)
    with pytest.raises(ResultsError, match=r"could not read .*r0\.lock: Input/output error"):
        Heartbeat(LockFile(path)).confirm()


def test_without_hard_links(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    test_one_owner_at_a_time(path)


def test_orphans_of_dead_processes_go_and_others_stay(path: Path) -> None:
    plant(path.with_name("r1.lock.abc"), dead())
    plant(path.with_name(".r2.lock.abc"), dead())
    plant(path.with_name("r3.lock.abc"), Owner.new())
    plant(path, dead())
    remove_orphans(path.parent)
    assert names(path) == ["r0.lock", "r3.lock.abc"]


def test_a_heartbeat_touches_and_notices_a_loss(path: Path) -> None:
    lock = LockFile(path)
    lock.acquire()
    os.utime(path, (1.0, 1.0))
    with Heartbeat(lock, seconds=0.01) as beat:
        while path.stat().st_mtime == 1.0:
            time.sleep(0.01)
        beat.check()
        beat.confirm()
        plant(path, Owner.new())
        with pytest.raises(LockLost):
            beat.confirm()
        with pytest.raises(LockLost):
            while True:
                beat.check()
                time.sleep(0.01)


def test_many_processes_and_many_deaths(path: Path) -> None:
    path.parent.mkdir()
    path.with_name("number.txt").write_text("0")
    command = [sys.executable, str(Path(__file__).with_name("contend.py")), str(path), "60"]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(4)]
    for process in processes:
        assert process.stdout is not None
        process.stdout.readline()
    path.with_name("start").touch()
    for process in processes:
        process.communicate()
        assert process.returncode == 0
    assert path.with_name("number.txt").read_text() == "240"
    assert LockFile(path).acquire()
    assert names(path) == ["number.txt", "r0.lock", "start"]


def test_the_folder_may_be_removed_at_any_moment(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another sweep that ends removes the folder while it is empty, here just after it was made, three times."""
    mkdir, removed = Path.mkdir, []

    def made_and_removed(folder: Path, *args: object, **flags: object) -> None:
        mkdir(folder, *args, **flags)  # type: ignore[arg-type]
        if folder == path.parent and len(removed) < 3:
            removed.append(folder)
            folder.rmdir()

    monkeypatch.setattr(Path, "mkdir", made_and_removed)
    assert LockFile(path).acquire()
    assert len(removed) == 3
    assert names(path) == [path.name]
