"""Lock files that work between processes and, on a shared file system, between machines.

A lock is a file that names its owner. It is created by a hard link of a complete file to the lock's name, which
succeeds for one process only. The owner touches it every `HEARTBEAT` seconds. A lock is stale if its owner is known to
be dead or its last touch is older than `STALE`; ages are measured with the file system's clock, not this machine's.

Taking over. Two processes may find the same lock stale, and the slower one must not remove the new lock of the faster
one. Therefore a process that wants to replace (or, as the owner, to remove) a lock with token T first locks the name
`LOCK.T`, and then checks again that the lock still has T. Only the holder of `LOCK.T` ever changes a lock with T. A
process that dies while it holds `LOCK.T` leaves a stale lock, which is taken over in the same way.

An owner that was stopped for longer than `STALE` (a laptop asleep) may continue and find that its lock was taken over:
it must check `is_mine` before it records anything.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

from dqrun.errors import DqrunError, ResultsError
from dqrun.sweep.owner import Owner

HEARTBEAT = 10.0
STALE = 120.0
_TRIES = 100  # attempts if other processes remove the folder; each failed attempt needs a removal between two calls
_LONGEST = 10_000  # largest size of a lock file in bytes
_DO_NOT_WAIT = getattr(os, "O_NONBLOCK", 0)  # else opening a pipe with a lock's name could wait forever
_LEFTOVER = re.compile(r"\.?(?P<lock>.+\.lock)\.[0-9a-z.]+")
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)


class LockLost(DqrunError):
    """Another process has taken over this process's lock: the result of this process must not be recorded."""


class LockFault(DqrunError):
    """Something that is no lock, a folder for example, has the name of one; it is left alone."""

    exit_code = 2


class LockFile:
    """A lock at `path`; not re-entrant, and one object may hold it at a time."""

    def __init__(self, path: Path, label: str = "") -> None:
        self.path, self.label = path, label
        self.mine: Owner | None = None

    def acquire(self, dead: str = "") -> bool:
        """Takes the lock if it is free or stale and returns whether this object now holds it. Never waits.

        Raises OSError if no lock can be written, LockFault if something that is no lock has its name.
        `dead`: label of a task that is known to have died, whose lock is stale whatever its age.
        """
        new = Owner.new(self.label)
        with _written(self.path, new) as file:
            if _link(file, self.path) or self._take_over(file, dead):
                self.mine = new
                _remove_leftovers(self.path, keep=f"{self.path.name}.{new.token}")
        return self.mine is not None

    def _take_over(self, file: Path, dead: str) -> bool:
        """Replaces a stale lock by `file`; False if the lock is not stale or another process was faster."""
        old = read_owner(self.path)
        if old is None:  # released a moment ago
            return _link(file, self.path)
        if not ((dead and old.label == dead) or is_stale(self.path, old)):
            return False
        with _permission_to_change(self.path, old.token) as allowed:
            if allowed:
                try:
                    file.replace(self.path)
                except FileNotFoundError:  # the old owner is alive after all and has removed `file`
                    return False
            return allowed

    def is_mine(self) -> bool:
        """Whether the lock is still this object's."""
        try:
            owner = read_owner(self.path)
        except LockFault:
            return False
        return self.mine is not None and owner is not None and owner.token == self.mine.token

    def touch(self) -> bool:
        """Touches the lock, to show that its owner is alive; returns `is_mine`."""
        mine = self.is_mine()
        if mine:
            os.utime(self.path)
        return mine

    def release(self) -> None:
        """Removes the lock, unless another process has taken it over.

        On a full disk, on which nothing can be written, it stays, and is stale after the end of this process.
        """
        if self.mine is None:
            return
        with suppress(OSError, LockFault), _permission_to_change(self.path, self.mine.token) as allowed:
            if allowed:
                _remove_leftovers(self.path, keep=f"{self.path.name}.{self.mine.token}")
                self.path.unlink()
        self.mine = None


@contextmanager
def _permission_to_change(path: Path, token: str) -> Iterator[bool]:
    """Whether this process alone may replace or remove the lock at `path`, which has `token`, inside the block."""
    claim = LockFile(path.with_name(f"{path.name}.{token}"))
    if not claim.acquire():
        yield False
        return
    try:
        owner = read_owner(path)
        yield owner is not None and owner.token == token
    finally:
        claim.path.unlink(missing_ok=True)


def read_owner(path: Path) -> Owner | None:
    """The owner of a lock, or None if there is no lock. A damaged lock has an owner on an unknown machine.

    Raises LockFault if the name belongs to something else, such as a folder.
    """
    try:
        handle = os.open(path, os.O_RDONLY | _DO_NOT_WAIT)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise LockFault(f"{path} is no lock ({error.strerror}): remove it") from None
    try:
        about = os.fstat(handle)
        if not stat.S_ISREG(about.st_mode):
            raise LockFault(f"{path} is no lock but a folder or device: remove it")
        content = os.read(handle, _LONGEST)
    finally:
        os.close(handle)
    try:
        return Owner.from_json(content.decode())
    except ValueError:
        return Owner(token=f"damaged{about.st_ino}", host="", machine="", pid=0, started="")


def is_stale(path: Path, owner: Owner) -> bool:
    """Whether the owner is known to be dead, or has not touched the lock for too long."""
    if owner.is_known_dead:
        return True
    try:
        os.utime(path.parent)  # sets its time to the file system's present time
        return path.parent.stat().st_mtime - path.stat().st_mtime > STALE
    except FileNotFoundError:
        return False


@contextmanager
def _written(path: Path, owner: Owner) -> Iterator[Path]:
    """A file beside `path` with the owner in it; removed after the block unless it was renamed."""
    file = path.with_name(f".{path.name}.{owner.token}")
    _write_into_folder(file, owner.to_json())
    try:
        yield file
    finally:
        file.unlink(missing_ok=True)


def _write_into_folder(file: Path, text: str) -> None:
    """Writes a file in a folder that may not exist yet, and that other sweeps remove at their end if it is empty."""
    for _ in range(_TRIES - 1):
        with suppress(FileNotFoundError):
            file.write_text(text, encoding="utf-8")
            return
        with suppress(FileExistsError):  # mkdir found the folder, and then not any more
            file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


def _link(file: Path, path: Path) -> bool:
    """Gives `file` the name `path` if that is free, atomically; returns whether it succeeded."""
    try:
        os.link(file, path)
    except (FileExistsError, FileNotFoundError):  # taken; or the winner tidied `file` away as a leftover
        return False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        return _create(file.read_text(encoding="utf-8"), path)
    return True


def _create(text: str, path: Path) -> bool:
    """As `_link`, for file systems without hard links."""
    try:
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    except FileExistsError:
        return False
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    return True


def _remove_leftovers(path: Path, keep: str) -> None:
    """Removes temporary files beside this lock that killed processes have left; the caller must hold the lock."""
    for other in path.parent.iterdir():
        name = other.name.removeprefix(".")
        if name.startswith(f"{path.name}.") and not name.startswith(keep):
            with suppress(OSError):  # removed meanwhile, or a folder, which is not dqrun's
                other.unlink()


def remove_orphans(folder: Path) -> None:
    """Removes temporary files that killed processes left for locks that no longer exist; other files stay."""
    for path in folder.glob("*"):
        found = _LEFTOVER.fullmatch(path.name)
        if found is None or (folder / found["lock"]).exists():
            continue
        with suppress(OSError, LockFault):
            owner = read_owner(path)
            if owner is not None and is_stale(path, owner):
                path.unlink(missing_ok=True)


class Heartbeat:
    """Touches a lock from a thread while the block runs, and detects that another process has taken it over."""

    def __init__(self, lock: LockFile, seconds: float = HEARTBEAT) -> None:
        self._lock, self._seconds = lock, seconds
        self._stop, self._lost = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> Heartbeat:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()

    def check(self) -> None:
        """Raises LockLost when the lock was lost."""
        if self._lost.is_set():
            raise LockLost("another process took this trial over")

    def confirm(self) -> None:
        """Raises LockLost unless this process now holds the lock, ResultsError if the lock can't be read."""
        try:
            mine = self._lock.is_mine()
        except OSError as error:
            raise ResultsError(f"could not read {self._lock.path}: {error.strerror}") from None
        if not mine:
            raise LockLost("another process took this trial over")

    def _beat(self) -> None:
        while not self._stop.wait(self._seconds):
            with suppress(OSError):  # a shared file system may be away for a moment
                if not self._lock.touch():
                    self._lost.set()
                    return
