"""`Group`: several processes that train one trial and exchange tensors through a `Transport`."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn

from dqrun.errors import TrialFailed
from dqrun.ranks.alone import Numbers, Range, Ranks
from dqrun.ranks.compression import summed_codes
from dqrun.ranks.selection import shared_range
from dqrun.ranks.step import whole_batch

T = TypeVar("T")
LONGEST_REASON = 300


class Transport(Protocol):
    """Transfers tensors between processes; methods raise RanksLost if a process has ended or does not answer."""

    def gathered(self, tensor: Tensor) -> list[Tensor]:
        """The tensors of all processes, of one shape, by rank."""

    def summed(self, tensor: Tensor) -> Tensor:
        """Their sum, the same bits in all processes."""

    def begin(self, name: str) -> None: ...

    def names(self) -> Iterator[str]: ...


class Group(Ranks):
    """The process `rank` of `size` processes."""

    def __init__(self, rank: int, size: int, transport: Transport) -> None:
        self.rank, self.size, self.transport = rank, size, transport

    def total(self, number: float) -> float:
        return float(self.transport.summed(torch.tensor(number, dtype=torch.float64)))

    def place(self, count: int) -> tuple[int, int]:
        counts = self._counts(count)
        return sum(counts[: self.rank]), sum(counts)

    def _counts(self, count: int) -> list[int]:
        return [int(each) for each in self.transport.gathered(torch.tensor(count))]

    @torch.no_grad()
    def gathered(self, numbers: Tensor) -> list[Tensor]:
        return self.transport.gathered(numbers)

    @torch.no_grad()
    def joined(self, numbers: Tensor) -> Tensor:
        counts = self._counts(numbers.numel())
        padded = numbers.new_zeros(max(counts))
        padded[: numbers.numel()] = numbers
        parts = self.transport.gathered(padded) if len(padded) else [padded] * self.size
        return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])

    def summed(self, x: Tensor) -> Tensor:
        return _Summed.apply(x, self.transport)  # type: ignore[no-any-return, no-untyped-call]

    def range(
        self, numbers: Numbers, shape: tuple[int, ...], tail: float, seen: Range | None, percentile: str
    ) -> Range:
        assert not shape, "activations have one range"
        return shared_range(numbers, tail, seen, percentile, self)

    def step(self, parts: Callable[[], Sequence[nn.Module]]) -> AbstractContextManager[None]:
        return whole_batch(self, parts())

    @torch.no_grad()
    def share_gradients(self, parameters: Iterable[nn.Parameter], bits: int | None, generator: torch.Generator) -> None:
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        if not gradients:
            return
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        if bits is None:
            flat = self.transport.summed(flat)
        else:
            seed = int(torch.randint(2**62, (), generator=generator)) + self.rank
            flat = summed_codes(flat, bits, torch.Generator().manual_seed(seed), self.transport.gathered)
        for gradient, part in zip(gradients, torch.split(flat, [each.numel() for each in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))

    def weighted(self, loss: Tensor, size: int) -> Tensor:
        return loss * (size / max(1.0, self.total(size)))

    def results(
        self, items: Iterable[T], compute: Callable[[T], tuple[Tensor, Tensor]], targets: Callable[[T], Tensor]
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Item i is computed by process i mod size. A TrialFailed of one process is raised in all of them."""
        wanted: list[Tensor] = []
        own: list[Tensor] = []
        failure = ""
        for i, item in enumerate(items):
            wanted.append(targets(item))
            if i % self.size == self.rank and not failure:
                try:
                    own.append(compute(item)[0])
                except TrialFailed as error:
                    failure = str(error)
        self._require_success(failure)
        parts = self._numbers_of_all(own)
        width = sum(part.numel() for part in parts) // max(1, sum(y.size(0) for y in wanted))
        taken = [0] * self.size
        for i, y in enumerate(wanted):
            rank, size = i % self.size, y.size(0) * width
            yield parts[rank][taken[rank] : taken[rank] + size].view(y.size(0), width), y
            taken[rank] += size

    def _numbers_of_all(self, own: list[Tensor]) -> list[Tensor]:
        flat = torch.cat([each.flatten() for each in own]) if own else torch.empty(0)
        counts = self._counts(flat.numel())
        return list(torch.split(self.joined(flat), counts))

    def _require_success(self, failure: str) -> None:
        """Raises the failure of the first process that has one."""
        told = torch.zeros(LONGEST_REASON, dtype=torch.uint8)
        content = failure.encode()[:LONGEST_REASON]
        told[: len(content)] = torch.tensor(list(content), dtype=torch.uint8)
        for each in self.transport.gathered(told):
            if reason := bytes(each.tolist()).rstrip(b"\0").decode(errors="ignore"):
                raise TrialFailed(reason)

    def agreed(self, state: Callable[[], dict[str, Any]], put: Callable[[dict[str, Any]], None]) -> None:
        content = b""
        if self.rank == 0:
            file = io.BytesIO()
            torch.save(state(), file)
            content = file.getvalue()
        told = self.joined(torch.frombuffer(bytearray(content), dtype=torch.uint8) if content else _NOTHING)
        if self.rank:
            put(torch.load(io.BytesIO(told.numpy().tobytes()), map_location="cpu", weights_only=True))

    def begin(self, name: str) -> None:
        if self.rank == 0:
            self.transport.begin(name)

    def end(self) -> None:
        self.begin("")

    def names(self) -> Sequence[str] | Iterator[str]:
        return self.transport.names()


_NOTHING = torch.empty(0, dtype=torch.uint8)


class _Summed(torch.autograd.Function):
    """A sum over processes; its gradient is the sum over processes of the gradients of the result."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, transport: Transport) -> Tensor:
        ctx.transport = transport
        return transport.summed(x.contiguous())

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return ctx.transport.summed(grad.contiguous()), None
