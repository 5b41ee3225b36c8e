"""`Ranks`: interface to the other processes of a trial, here for a single process; `ALONE` is its only object."""

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
    """Another process of the trial ended, or did not answer in time: the trial can't continue in this process."""


class RanksSilent(RanksLost):
    """Another process of the trial did not answer in time. The process that raises this ends; others get RanksLost."""


@dataclass(frozen=True)
class Share:
    """The part `index` of `count` of each batch."""

    index: int = 0
    count: int = 1

    def of(self, ids: Tensor) -> Tensor:
        """This part of the ids: consecutive ids; the lengths of all parts differ by at most 1."""
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
    """The processes, "ranks", that train one trial together: each has a part of every batch and the whole network.

    Methods that exchange data must be called by all processes, in the same order. This class is for a single process:
    methods return their argument.
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
        """Index of the first of this process's `count` items among those of all, in order of ranks; number of all."""
        return 0, count

    def gathered(self, numbers: Tensor) -> list[Tensor]:
        """The tensors of all processes, of one shape, by rank; without gradient."""
        return [numbers]

    def joined(self, numbers: Tensor) -> Tensor:
        """The concatenated 1-d tensors of all processes, which may differ in length; without gradient."""
        return numbers

    def summed(self, x: Tensor) -> Tensor:
        """The sum over all processes of tensors of one shape, with a gradient to each."""
        return x

    def range(
        self, numbers: Numbers, shape: tuple[int, ...], tail: float, seen: Range | None, percentile: str
    ) -> Range:
        """The range of the numbers of all processes together, as defined by `kernels.tail_range`."""
        return numbers.range(shape, tail, seen, percentile)

    def step(self, parts: Callable[[], Sequence[nn.Module]]) -> AbstractContextManager[None]:
        """A context in which a training step has the same result as on the whole batch.

        `parts`: returns the modules with an attribute `ranks`; a single process does not call it.
        """
        return nullcontext()

    def share_gradients(self, parameters: Iterable[nn.Parameter], bits: int | None, generator: torch.Generator) -> None:
        """Replaces each gradient by the sum over all processes; `bits`: width of exchanged codes, None: exact."""

    def weighted(self, loss: Tensor, size: int) -> Tensor:
        """This process's contribution to the batch's mean loss, from its own mean `loss` over `size` terms."""
        return loss

    def results(
        self, items: Iterable[T], compute: Callable[[T], tuple[Tensor, Tensor]], targets: Callable[[T], Tensor]
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Results of `compute` for each item, logits float32 [rows, C] and targets, in order. Processes share the
        items.

        `targets`: returns an item's targets without computing its logits.
        """
        return map(compute, items)

    def agreed(self, state: Callable[[], dict[str, Any]], put: Callable[[dict[str, Any]], None]) -> None:
        """Copies the state of the first process to all others: `state` collects it, `put` restores it."""

    def begin(self, name: str) -> None:
        """Called in the first process: announces to the others that the trial `name` begins."""

    def end(self) -> None:
        """Called in the first process: announces to the others that no trial follows."""

    def names(self) -> Sequence[str] | Iterator[str]:
        """Called in the other processes: the announced names of trials, until no trial follows."""
        return ()


ALONE = Ranks()
