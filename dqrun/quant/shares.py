"""Which share of a range gives the least error: values beyond it are clipped, the others lie on a finer grid."""

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
    """`candidates` shares, at equal distances up to 1, are tried; the error is the mean of |rounded - x|^`power`."""

    candidates: int
    power: float


@torch.no_grad()
def best_share(x: Tensor, low: Tensor, high: Tensor, search: Search, rounded: RoundsTo) -> Tensor:
    """The share of [low, high] (float32, one shape, which broadcasts to x) of which the grid has the least error.

    `rounded(x, low, high)`: what x is on the grid of a range. Returns float32 of the shape of low; the largest of
    shares of equal error, 1 where x has no element.
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
    """Rounding to the grid of `spec` and a range."""

    def rounded(x: Tensor, low: Tensor, high: Tensor) -> Tensor:
        scales = spec.scales(low, high)
        return spec.decode(spec.encode(x, scales), scales)

    return rounded
