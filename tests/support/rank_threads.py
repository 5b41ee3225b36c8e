"""Groups of processes, played by threads: their exchanges are real, their processes are not."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from dqrun.ranks.alone import RanksLost
from dqrun.ranks.group import Group


class Meeting:
    """Where the threads of a group exchange tensors."""

    def __init__(self, size: int) -> None:
        self.size, self.barrier = size, threading.Barrier(size, timeout=60)
        self.left: list[Any] = [None] * size
        self.exchanges = 0


class Threads:
    """What one thread carries; see `Transport`."""

    def __init__(self, meeting: Meeting, rank: int) -> None:
        self.meeting, self.rank = meeting, rank

    def gathered(self, tensor: Tensor) -> list[Tensor]:
        meeting = self.meeting
        meeting.left[self.rank] = tensor.detach().clone()
        self._wait()
        found = [each.clone() for each in meeting.left]
        assert all(each.shape == tensor.shape for each in found), "processes are out of step"
        meeting.exchanges += self.rank == 0
        self._wait()
        return found

    def _wait(self) -> None:
        try:
            self.meeting.barrier.wait()
        except threading.BrokenBarrierError:
            raise RanksLost("another process of the trial ended") from None

    def summed(self, tensor: Tensor) -> Tensor:
        return torch.stack(self.gathered(tensor)).sum(0)

    def begin(self, name: str) -> None:
        raise NotImplementedError

    def names(self) -> Iterator[str]:
        raise NotImplementedError


def together(size: int, work: Callable[[Group], Any]) -> list[Any]:
    """What `work` gives in each of `size` threads; raises what one of them raised first."""
    meeting = Meeting(size)
    found: list[Any] = [None] * size
    errors: list[BaseException] = []

    def run(rank: int) -> None:
        try:
            found[rank] = work(Group(rank, size, Threads(meeting, rank)))
        except BaseException as error:
            errors.append(error)
            meeting.barrier.abort()

    contexts = [contextvars.copy_context() for _ in range(size)]
    threads = [threading.Thread(target=contexts[rank].run, args=(run, rank)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise next((error for error in errors if not isinstance(error, RanksLost)), errors[0])
    return found
