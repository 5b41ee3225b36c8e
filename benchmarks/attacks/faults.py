"""File-system faults: `python benchmarks/attacks/faults.py [--count N] [--seed S]`.

The script writes final files: a run, a run again, a run whose checkpoint is then removed, tables, and a single file. It
counts each call that changes the file system: opening to write, fsync, rename, replace, mkdir, unlink, rmdir. Each of
these calls fails in turn, with each of five errors and with a power failure before the call; --count limits the attack
to N random faults of these. After a power failure no further call runs, and every file whose content has not reached
the disk becomes empty, even after a rename. Then the next process cleans up and reads.

Failures: content that is neither old nor new, a run that is lost together with its checkpoint, a row that is readable
but whose run is not whole, a leftover folder, an exception of a command other than DqrunError and OSError, and any
exception of the next process. The exit code is 1 after a failure.
"""

from __future__ import annotations

import argparse
import builtins
import contextlib
import errno
import io
import os
import random
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dqrun.durable import write_text
from dqrun.errors import DqrunError
from dqrun.runs.row import Row, write_row
from dqrun.runs.store import Results

ERRORS = (errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS)
POWER = 0
OLD, NEW = 0.25, 0.75
NAME = "r-01234567"


class PowerFailed(BaseException):
    """Raised by every counted call once the power has failed."""


@dataclass
class Disk:
    """Counts the calls that change the file system and makes call number `at` fail; 0: no call fails.

    `error`: an errno, or POWER, after which all later calls fail too.
    """

    at: int = 0
    error: int = POWER
    calls: int = 0
    synced: dict[int, int] = field(default_factory=dict)  # inode -> size in bytes that has reached the disk

    def step(self) -> None:
        self.calls += 1
        off = self.at and self.error == POWER and self.calls >= self.at
        if off:
            raise PowerFailed
        if self.calls == self.at:
            raise OSError(self.error, os.strerror(self.error))

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Replaces functions of `os` and `open` by counting ones while the block runs."""
        kept = {name: getattr(os, name) for name in ("fsync", "rename", "replace", "mkdir", "unlink", "rmdir", "open")}
        opened = io.open

        def before(call: Callable[..., Any]) -> Callable[..., Any]:
            def wrapped(*rest: Any, **named: Any) -> Any:
                self.step()
                return call(*rest, **named)

            return wrapped

        def fsync(handle: int) -> None:
            self.step()
            status = os.fstat(handle)
            self.synced[status.st_ino] = status.st_size

        def low(path: Any, flags: int, *rest: Any, **named: Any) -> int:
            if flags & (os.O_CREAT | os.O_WRONLY | os.O_RDWR):
                self.step()
            return int(kept["open"](path, flags, *rest, **named))

        def high(file: Any, mode: str = "r", *rest: Any, **named: Any) -> Any:
            if not set("wax+").isdisjoint(mode):
                self.step()
            return opened(file, mode, *rest, **named)

        for name, call in kept.items():
            setattr(os, name, {"fsync": fsync, "open": low}.get(name, before(call)))
        io.open = builtins.open = high  # type: ignore[assignment] - narrower than open's overloads
        try:
            yield
        finally:
            io.open = builtins.open = opened
            for name, call in kept.items():
                setattr(os, name, call)

    def lose_what_was_not_synced(self, root: Path) -> None:
        """Empties each file whose size differs from its size at the last fsync."""
        for path in root.rglob("*"):
            status = path.lstat()
            if path.is_file() and self.synced.get(status.st_ino) != status.st_size:
                path.write_bytes(b"")


def make_row(value: float) -> Row:
    names = {name: "x" for name, kind in Row.__annotations__.items() if kind == "str"}
    numbers = {name: 1 for name, kind in Row.__annotations__.items() if kind.startswith(("int", "float"))}
    texts = {"run_id": NAME, "config_hash": "01234567", "finished_utc": "2026-01-01T00:00:00+00:00", "status": "done"}
    return replace(Row(**names | numbers | texts, higher_is_better=True, residual=False), test_metric=value)


def write_run(root: Path, value: float) -> None:
    """Writes a run folder, as `dqrun.runs.outcome.record` does; `value` is its test metric and its files' content."""
    with Results(root).writing(NAME) as folder:
        for name in ("config.yaml", "history.csv", "model.safetensors"):
            (folder / name).write_text(f"{value}")
        write_row(folder, make_row(value))


def write_run_and_drop(root: Path, value: float) -> None:
    """Writes the run, removes its checkpoint and rebuilds the tables, as a worker does at the end of a trial."""
    write_run(root, value)
    Results(root).checkpoint_path(NAME).unlink(missing_ok=True)
    Results(root).rebuild_tables()


def run_is(root: Path, *, lost: bool) -> str:
    """Describes the fault of the run after the next process has cleaned up; "" if there is none.

    `lost`: whether the run may be missing.
    """
    results = Results(root)
    results.clear_leftovers(NAME)
    results.rebuild_tables()
    row = results.row(NAME, "01234567")
    if row is None:
        kept = results.checkpoint_path(NAME).exists()
        return "" if lost or kept else "the run is lost"
    files = {path.name: path.read_text() for path in (root / "runs" / NAME).iterdir() if path.name != "row.json"}
    if len(files) != 3 or set(files.values()) != {str(row["test_metric"])}:
        return f"a run that is not whole: {files}"
    left = [path.name for path in results.runs.iterdir() if path.name != NAME]
    return f"leftovers: {left}" if left else ""


def file_is(root: Path) -> str:
    text = (root / "file.txt").read_text()
    return "" if text in (str(OLD), str(NEW)) else f"a file that is neither old nor new: {text!r}"


def tables_are(root: Path) -> str:
    heads = {(root / name).read_text().partition(",")[0] for name in ("trials.csv", "summary.csv")}
    return "" if heads == {"run_id", "dataset"} else f"a table that is neither old nor new: {heads}"


@dataclass(frozen=True)
class Scene:
    """One test. `prepare` creates the first state, `act` is attacked, `judge` describes the fault, or returns ""."""

    prepare: Callable[[Path], object]
    act: Callable[[Path], object]
    judge: Callable[[Path], str]


def with_checkpoint(root: Path) -> None:
    path = Results(root).checkpoint_path(NAME)
    path.parent.mkdir()
    path.write_text("training")


SCENES = {
    "run": Scene(Results, lambda root: write_run(root, NEW), lambda root: run_is(root, lost=True)),
    "run again": Scene(
        lambda root: write_run(root, OLD), lambda root: write_run(root, NEW), lambda root: run_is(root, lost=False)
    ),
    "run and checkpoint": Scene(
        with_checkpoint, lambda root: write_run_and_drop(root, NEW), lambda root: run_is(root, lost=False)
    ),
    "tables": Scene(
        lambda root: (write_run(root, OLD), Results(root).rebuild_tables()),
        lambda root: Results(root).rebuild_tables(),
        tables_are,
    ),
    "file": Scene(
        lambda root: write_text(root / "file.txt", str(OLD)),
        lambda root: write_text(root / "file.txt", str(NEW)),
        file_is,
    ),
}


def tried(name: str, at: int, error: int, root: Path) -> tuple[str, int]:
    """Runs a scene with a fault at call `at`; returns a description of the failure, or "", and the number of calls."""
    scene, disk = SCENES[name], Disk(at, error)
    root.mkdir()
    with Disk().watched():
        scene.prepare(root)
    disk.synced = {path.stat().st_ino: path.stat().st_size for path in root.rglob("*") if path.is_file()}
    fault = ""
    try:
        with disk.watched():
            scene.act(root)
    except PowerFailed:
        disk.lose_what_was_not_synced(root)
    except (DqrunError, OSError):
        pass
    except Exception as other:  # any other exception of dqrun is a failure
        fault = f"traceback {type(other).__name__}: {other}"
    try:
        fault = fault or scene.judge(root)
    except Exception as other:  # as above
        fault = f"the next process: {type(other).__name__}: {other}"
    shutil.rmtree(root)
    return fault, disk.calls


def main(count: int | None, seed: int) -> int:
    """Tries all faults, or `count` random ones of them, and returns the number of failures."""
    failures = 0
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "results"
        faults = []
        for name in SCENES:
            _, calls = tried(name, 0, POWER, root)
            faults += [(name, at, error) for at in range(1, calls + 1) for error in (POWER, *ERRORS)]
        if count is not None:
            faults = random.Random(seed).sample(faults, min(count, len(faults)))
        for name, at, error in faults:
            fault, _ = tried(name, at, error, root)
            if fault:
                failures += 1
                kind = errno.errorcode[error] if error else "no power"
                print(f"{name}, call {at}, {kind}: {fault}", flush=True)
    print(f"{len(faults)} file-system faults in {', '.join(SCENES)}: {failures} failures")
    return failures


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=None, help="default: all")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    sys.exit(main(arguments.count, arguments.seed) > 0)
