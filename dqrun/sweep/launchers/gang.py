"""`Gang`: processes of this machine that train one trial at a time together. If one dies, all are ended."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dqrun.errors import DqrunError
from dqrun.ranks.alone import RanksLost, RanksSilent
from dqrun.ranks.meeting import FILE
from dqrun.sweep.launchers.pool import Answer, Died, Heard, Job
from dqrun.sweep.launchers.processes import NoWorker, WorkerProcess

GRACE = 5.0
"""Seconds in which the processes of a trial say why it ended, after the first of them did."""


class Gang:
    """`size` worker processes, which connect through a file. All get each trial; the first (rank 0) answers."""

    def __init__(self, size: int) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="dqrun-ranks-")
        self.members: list[WorkerProcess] = []
        try:
            for rank in range(size):
                place = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size)}
                meeting = {FILE: str(Path(self._folder.name) / "meeting")}
                self.members.append(WorkerProcess(f"process {rank} of {size}", place | meeting))
        except BaseException:
            self.stop()
            raise

    def send(self, job: Job) -> None:
        """Sends a trial to all."""
        for member in self.members:
            member.send(job)

    def task(self, ended: Callable[[bool], None], listen: Callable[[Heard], None]) -> GangTask:
        """The trial that was sent last."""
        return GangTask(self, ended, listen)

    def stop(self) -> None:
        """Kills all processes; their present trial keeps its checkpoint."""
        for member in self.members:
            member.stop()
        self._folder.cleanup()


class GangTask:
    """A trial that was sent to a gang."""

    def __init__(self, gang: Gang, ended: Callable[[bool], None], listen: Callable[[Heard], None]) -> None:
        self._gang, self._ended, self._listen = gang, ended, listen
        self._said: dict[int, Any] = {}
        """By rank: an Answer, or what a process raised or died of."""
        self._since: float | None = None

    def done(self) -> bool:
        """Whether `result` returns at once. After a first message of a process the others get time for theirs."""
        for rank, member in enumerate(self._gang.members):
            if rank not in self._said:
                self._hear(rank, member)
        if not self._said:
            return False
        self._since = time.monotonic() if self._since is None else self._since
        waited = time.monotonic() - self._since > GRACE
        trouble = any(isinstance(said, Exception) for said in self._said.values())
        died = any(isinstance(said, (Died, NoWorker)) for said in self._said.values())
        lead = self._said.get(0)
        settled = isinstance(lead, Exception) and not isinstance(lead, RanksLost)
        whole = len(self._said) == len(self._gang.members)
        return whole or died or settled or _is_failure(lead) or (waited and (trouble or lead is not None))

    def _hear(self, rank: int, member: WorkerProcess) -> None:
        try:
            while (said := member.receive()) is not None:
                if isinstance(said, Heard):
                    self._listen(said)
                else:
                    self._said[rank] = said
                    return
        except (Died, NoWorker) as death:
            self._said[rank] = death

    def result(self) -> Answer:
        """The answer of the first process; raises its exception, or Died with the cause of the trial's end."""
        lead = self._said.get(0)
        whole = len(self._said) == len(self._gang.members)
        well = whole and all(isinstance(said, Answer) for said in self._said.values()) and not _is_failure(lead)
        self._ended(not well)
        if isinstance(lead, Answer):
            return lead
        if isinstance(lead, Exception) and not isinstance(lead, (RanksLost, Died)):
            raise lead
        raise self._cause()

    def _cause(self) -> Exception:
        """The cause of the trial's end, in this order: a death, an error, no answer in time, the loss of another."""
        size = len(self._gang.members)
        said = {rank: each for rank, each in sorted(self._said.items()) if isinstance(each, Exception)}
        for kind in (NoWorker, Died):
            for each in said.values():
                if isinstance(each, kind):
                    return each
        for rank, each in said.items():
            if not isinstance(each, RanksLost):
                text = str(each) if isinstance(each, DqrunError) else f"{type(each).__name__}: {each}"
                return Died(f"process {rank} of {size} failed: {text}", text)
        rank, each = min(said.items(), key=lambda item: not isinstance(item[1], RanksSilent))
        return Died(f"process {rank} of {size}: {each}", str(each))


def _is_failure(said: Any) -> bool:
    """Whether an answer is the row of a failed trial, of which the other processes may not know."""
    return isinstance(said, Answer) and said.finished is not None and said.finished.row["status"] != "done"
