"""`Ranks`: what a process knows of the processes that train one trial with it, here none; `ALONE` is the one object."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn

from dqrun.errors import DqrunError

T = TypeVar("T")
Range = tuple[Tensor, Tensor]


class RanksLost(DqrunError):
    """Another process of the trial ended, or did not answer in time: the trial can't go on in this process."""


class RanksSilent(RanksLost):
    """Another process of the trial did not answer in time; where one process says so, the others only see it end."""


@dataclass(frozen=True)
class Share:
    """The part `index` of `count` of each batch."""

    index: int = 0
    count: int = 1

    def of(self, ids: Tensor) -> Tensor:
        """This part of the ids: parts are runs of equal length, or of two lengths that differ by 1; together all."""
        if self.count == 1:
            return ids
        size = ids.size(0)
        return ids[size * self.index // self.count : size * (self.index + 1) // self.count]


WHOLE = Share()
"""All of each batch."""


class Numbers(Protocol):
    """Numbers whose range is observed; see `quant.scales.Quantizable`."""

    @property
    def observed(self) -> int: ...

    def range(self, shape: tuple[int, ...], tail: float, seen: Range | None, percentile: str) -> Range: ...

    def sample(self, most: int) -> Tensor: ...


class Ranks:
    """The processes, "ranks", that train one trial together: each has a part of every batch and all of the network.

    Methods that speak of all processes must be called by all of them, in one order. In this class there is one process,
    and each method gives what was given.
    """

    rank, size = 0, 1

    @property
    def share(self) -> Share:
        """This process's part of a batch."""
        return Share(self.rank, self.size)

    def total(self, number: float) -> float:
        """The sum of a number over all processes; whole numbers are exact to 2^53."""
        return number

    def place(self, count: int) -> tuple[int, int]:
        """Where `count` items of this process begin among the items of all, in the order of ranks; and their number."""
        return 0, count

    def joined(self, numbers: Tensor) -> Tensor:
        """The 1-d tensors of all processes, which may differ in length, one after the other; without gradient."""
        return numbers

    def summed(self, x: Tensor) -> Tensor:
        """The sum over all processes of tensors of one shape, with a gradient to each."""
        return x

    def range(
        self, numbers: Numbers, shape: tuple[int, ...], tail: float, seen: Range | None, percentile: str
    ) -> Range:
        """The range of the numbers of all processes, as `kernels.tail_range` defines it for numbers of one."""
        return numbers.range(shape, tail, seen, percentile)

    def step(self, parts: Callable[[], Sequence[nn.Module]]) -> AbstractContextManager[None]:
        """A context in which a training step computes what it would compute on the whole batch.

        `parts`: finds those of the network that have an attribute `ranks`; one process alone does not look for them.
        """
        return nullcontext()

    def share_gradients(self, parameters: Iterable[nn.Parameter], bits: int | None, generator: torch.Generator) -> None:
        """Replaces each gradient by the sum over all processes; `bits`: of what they send, None: as it is."""

    def weighted(self, loss: Tensor, size: int) -> Tensor:
        """The part of the mean loss of a batch that a mean over `size` of its terms makes."""
        return loss

    def results(
        self, items: Iterable[T], compute: Callable[[T], tuple[Tensor, Tensor]], targets: Callable[[T], Tensor]
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """What `compute` gives for each item, logits float32 [rows, C] and targets, in order. Processes share
        the items.

        `targets`: gives an item's targets without computing its logits.
        """
        return map(compute, items)

    def agreed(self, state: Callable[[], dict[str, Any]], put: Callable[[dict[str, Any]], None]) -> None:
        """Gives all processes the state that the first one has: `state` collects it, `put` takes it over."""

    def begin(self, name: str) -> None:
        """In the first process: tells the others that the trial of this name begins."""

    def end(self) -> None:
        """In the first process: tells the others that no trial follows."""

    def names(self) -> Sequence[str] | Iterator[str]:
        """In the other processes: the names of trials that begin, until none follows."""
        return ()


ALONE = Ranks()
