"""Search for the share of a range with the least error: a smaller share clips more values but has a finer grid."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from dqrun.quant.spec import QuantSpec

SAMPLE = 1 << 16
"""Numbers of a tensor from which an error is estimated."""
RoundsTo = Callable[[Tensor, Tensor, Tensor], Tensor]


class Search(NamedTuple):
    """Tries the shares k / `candidates`, k = 1 to `candidates`; the error is the sum of |rounded - x|^`power`."""

    candidates: int
    power: float


@torch.no_grad()
def best_share(x: Tensor, low: Tensor, high: Tensor, search: Search, rounded: RoundsTo) -> Tensor:
    """The share of [low, high] (float32, one shape, which broadcasts to x) whose grid has the least error.

    `rounded(x, low, high)`: x rounded to the grid of a range. Returns float32 of the shape of low; among shares of
    equal error the largest, 1 if x is empty.
    """
    best, least = torch.ones_like(low), torch.full_like(low, torch.inf)
    for i in range(search.candidates, 0, -1):
        share = i / search.candidates
        error = (rounded(x, low * share, high * share) - x).abs().pow(search.power)
        error = error.sum_to_size(low.shape) if low.dim() else error.sum()
        better = error < least
        best, least = torch.where(better, share, best), torch.where(better, error, least)
    return best


def on_grid(spec: QuantSpec) -> RoundsTo:
    """A function that rounds to the grid that `spec` has for a range."""

    def rounded(x: Tensor, low: Tensor, high: Tensor) -> Tensor:
        scales = spec.scales(low, high)
        return spec.decode(spec.encode(x, scales), scales)

    return rounded
