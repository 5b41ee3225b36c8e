"""Places the values of a program in one static array of bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Lifetime:
    """The lifetime of a value of `size` bytes: operation `first` writes it, and no operation after `last` reads it."""

    size: int
    first: int
    last: int

    def meets(self, other: Lifetime) -> bool:
        """Whether both values are needed during some operation."""
        return self.first <= other.last and other.first <= self.last


def place(values: Sequence[Lifetime]) -> tuple[list[int], int]:
    """The first byte of each value, and the size of the memory: values needed at the same time do not overlap.

    The largest values are placed first, each at the lowest free address.
    """
    offsets = [0] * len(values)
    placed: list[int] = []
    for i in sorted(range(len(values)), key=lambda i: (-values[i].size, values[i].first)):
        beside = sorted((offsets[j], values[j].size) for j in placed if values[j].meets(values[i]))
        offset = 0
        for start, size in beside:
            if start - offset >= values[i].size:
                break
            offset = max(offset, start + size)
        offsets[i] = offset
        placed.append(i)
    return offsets, max((offsets[i] + values[i].size for i in placed), default=0)
