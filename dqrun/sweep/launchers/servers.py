"""Servers on this machine, each with one trial at a time, so that the trial of a dead server is known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from dqrun.analysis.progress import Progress
from dqrun.sweep.launchers.pool import Heard, Job, Task, drive
from dqrun.sweep.plan import Plan, PlannedTrial
from dqrun.sweep.stopped import saying_what_stopped


class Server(Protocol):
    """Runs trials one after the other: a process, or several that train together."""

    def send(self, job: Job) -> None:
        """Sends a trial to the server."""

    def task(self, ended: Callable[[bool], None], listen: Callable[[Heard], None]) -> Task:
        """The trial that was sent last; `ended` is called with whether the server is dead, `listen` gets epochs."""

    def stop(self) -> None:
        """Kills the server; its trial keeps its checkpoint."""


def run_on(plan: Plan, progress: Progress, make: Callable[[], Server], count: int) -> None:
    """Runs the plan's trials on `count` servers; all end when this function does."""
    servers = _Servers(make, count, progress)
    try:
        with saying_what_stopped(servers.trained):
            drive(plan, progress, servers.submit, count)
    finally:
        servers.stop()


class _Servers:
    def __init__(self, make: Callable[[], Server], count: int, progress: Progress) -> None:
        self._make, self._progress = make, progress
        self.trained: dict[str, tuple[PlannedTrial, int]] = {}
        """By name, the trials at work and the epochs that each has trained."""
        self._all: list[Server] = []
        try:
            for _ in range(count):
                self._all.append(make())
        except BaseException:
            self.stop()
            raise
        self._free = list(self._all)

    def submit(self, job: Job) -> Task:
        server = self._free.pop()
        server.send(job)

        def ended(dead: bool) -> None:
            self.trained.pop(job.planned.name, None)
            self._free.append(self._replaced(server) if dead else server)

        def listen(heard: Heard) -> None:
            self.trained[job.planned.name] = job.planned, heard.epoch.epoch
            self._progress.heard(job.label, heard.title, heard.epochs, heard.epoch)

        return server.task(ended, listen)

    def _replaced(self, server: Server) -> Server:
        """Replaces a dead server by a new one."""
        server.stop()
        self._all.remove(server)
        self._all.append(self._make())
        return self._all[-1]

    def stop(self) -> None:
        for server in self._all:
            server.stop()
