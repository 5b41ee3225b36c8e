"""`Groups`: the inputs of each output channel of a weight in groups, each of which has a scale of its own."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True)
class Groups:
    """A weight of `shape` as [C, G, N]: C output channels (the dimensions `channels`), G groups of N inputs.

    N is `size`, or the number of inputs if that is smaller. If N does not divide the number of inputs, the last group
    is padded with repetitions of its own inputs, from the first one on. So padding does not change its range; `join`
    drops it.
    """

    shape: tuple[int, ...]
    channels: tuple[int, ...]
    size: int

    @cached_property
    def split_shape(self) -> tuple[int, int, int]:
        """[C, G, N]."""
        channels = math.prod(self.shape[dim] for dim in self.channels)
        size = min(self.size, self._inputs)
        return channels, -(-self._inputs // size), size

    @property
    def scale_shape(self) -> tuple[int, int, int]:
        """The shape of the scales, which broadcasts to [C, G, N]."""
        channels, groups, _ = self.split_shape
        return channels, groups, 1

    def split(self, weight: Tensor) -> Tensor:
        """A tensor of `shape` as [C, G, N]."""
        rows = weight.permute(self._order).reshape(self.split_shape[0], self._inputs)
        return (rows if self._places is None else rows[:, self._places.to(rows.device)]).reshape(self.split_shape)

    def join(self, weight: Tensor) -> Tensor:
        """[C, G, N] as a tensor of `shape`, without the padding of `split`."""
        order = self._order
        rows = weight.reshape(self.split_shape[0], -1)[:, : self._inputs]
        back = sorted(range(len(order)), key=order.__getitem__)
        return rows.reshape([self.shape[dim] for dim in order]).permute(back)

    @cached_property
    def _inputs(self) -> int:
        return math.prod(size for dim, size in enumerate(self.shape) if dim not in self.channels)

    @cached_property
    def _order(self) -> list[int]:
        """The dimensions of the weight, those of its output channels first."""
        return [*self.channels, *(dim for dim in range(len(self.shape)) if dim not in self.channels)]

    @cached_property
    def _places(self) -> Tensor | None:
        """The input at each place of the groups, int64 [G N]; None: the inputs in order."""
        _, groups, size = self.split_shape
        left = self._inputs % size
        if not left:
            return None
        places = torch.arange(groups * size)
        start = self._inputs - left
        return torch.where(places < self._inputs, places, start + (places - start) % left)
