"""Runs commands of dqrun for attacks; each runs in a child of this process, which has imported everything before.

A child starts in milliseconds, so an attack can kill hundreds of commands. This process must not run a kernel itself:
after that, its children could not run kernels (OpenMP).
"""

from __future__ import annotations

import gc
import importlib
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

STALE, HEARTBEAT, POLL = 2.0, 0.2, 0.2
"""Seconds that replace the longer times of `dqrun.sweep.locks` and of the launchers, to make attacks short."""

SMALL = [
    *("dataset=threads", "dataset.graphs=20", "model=gin", "model.hidden=8", "model.layers=2", "train.epochs=3"),
    *("train.batch_size=8", "threads=1", "kernels=reference", "train.checkpoint_minutes=1e-9", "results.dir=results"),
]
_HEAVY = (
    "torch._dynamo",
    "pandas",
    "scipy.stats",
    "optuna",
    "dqrun.sweep.run",
    "dqrun.tune.command",
    "dqrun.sweep.launchers.parallel",
)
_IN_WORKERS = (
    "from dqrun.sweep import locks; locks.STALE = {stale}; locks.Heartbeat.__init__.__defaults__ = ({beat},); "
    "from dqrun.sweep.launchers.serve"
)


def preload() -> None:
    """Imports the modules that commands need, and shortens waiting times."""
    for name in _HEAVY:
        if find_spec(name.partition(".")[0]) is not None:  # only the attack on searches needs optuna
            importlib.import_module(name)
    from dqrun.composition.compose import load_configs
    from dqrun.sweep import locks
    from dqrun.sweep.launchers import plain, pool, processes

    locks.STALE = STALE
    locks.Heartbeat.__init__.__defaults__ = (HEARTBEAT,)  # type: ignore[misc] - shorter, for the attack
    plain.POLL = pool.POLL = POLL
    shortened = _IN_WORKERS.format(stale=STALE, beat=HEARTBEAT)
    processes._SERVE = processes._SERVE.replace("from dqrun.sweep.launchers.serve", shortened)
    load_configs(SMALL)
    gc.freeze()  # children need not collect objects that exist now


class Command:
    """A command `dqrun WORDS` that runs in the folder `home`, in its own process group, and writes to `NAME.log` there.

    The child calls `before` first, and calls `after` when the command has returned.
    """

    def __init__(
        self,
        home: Path,
        name: str,
        words: Sequence[str],
        before: Callable[[], None] = lambda: None,
        after: Callable[[], None] = lambda: None,
    ) -> None:
        self.log = home / f"{name}.log"
        self._before = self.log.stat().st_size if self.log.exists() else 0
        self.code: int | None = None
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid == 0:
            self._run(home, words, before, after)
        while os.getpgid(self.pid) != self.pid:  # until the child has its group
            time.sleep(0.001)

    def _run(self, home: Path, words: Sequence[str], before: Callable[[], None], after: Callable[[], None]) -> NoReturn:
        """Runs the command in the child and exits with its code, or with 70 after an exception."""
        code = 70
        try:
            os.chdir(home)
            stream = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            os.dup2(stream, 1)
            os.dup2(stream, 2)
            os.setsid()
            from dqrun.cli import main

            before()
            code = main(list(words))
            after()
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            os._exit(code)

    def said(self) -> str:
        """Returns the output of this command so far."""
        return self.log.read_bytes()[self._before :].decode(errors="replace")

    def ended(self) -> bool:
        """Returns whether the process has ended. If so, `code` is its exit code, or minus the signal that ended it."""
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
        return self.code is not None

    def wait(self, seconds: float) -> bool:
        """Waits for the end, at most `seconds`; returns whether the process has ended."""
        until = time.monotonic() + seconds
        while not self.ended():
            if time.monotonic() > until:
                return False
            time.sleep(0.01)
        return True

    def signal(self, number: int, group: bool = False) -> None:
        """Sends a signal to the process if it has not ended; `group`: to its workers too."""
        if not self.ended():
            (os.killpg if group else os.kill)(self.pid, number)

    def left(self, seconds: float = 10.0) -> list[int]:
        """Waits at most `seconds` for the end of all processes of the group; returns the ids of those still alive."""
        until = time.monotonic() + seconds
        while (alive := in_group(self.pid)) and time.monotonic() < until:
            time.sleep(0.02)
        return alive

    def end(self) -> None:
        """Kills all processes of the group that are still alive."""
        for pid in in_group(self.pid):
            os.kill(pid, signal.SIGKILL)
        self.wait(10.0)


def in_group(group: int) -> list[int]:
    """Returns the ids of the processes of a process group that have not ended."""
    alive = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, member = path.read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if int(member) == group and state not in "ZX":
            alive.append(int(path.parent.name))
    return alive
