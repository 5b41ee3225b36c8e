"""`Observer`: the range that a tensor has shown."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dqrun import kernels


class Observer(nn.Module):
    """Tracks the range [low, high] of a tensor over training steps, leaving a share `tail` outside on each side.

    `update` says how a new range joins the old: "running_minmax" (running extremes; what the released Degree-Quant code
    does with its percentiles), "ema" (exponential moving average, first range as it is; Jacob et al. 2018, sec. 3.1),
    "last_batch" (the newest replaces the old). `percentile`: which elements end the range, see `kernels.tail_range`.

    Buffers `low`, `high`: float32 0-d, (+inf, -inf) until something was seen.
    """

    low: Tensor
    high: Tensor

    def __init__(
        self, tail: float = 0.0, update: str = "ema", momentum: float = 0.01, percentile: str = "symmetric"
    ) -> None:
        super().__init__()
        self.tail, self.rule, self.momentum, self.percentile = tail, update, momentum, percentile
        self.register_buffer("low", torch.tensor(torch.inf))
        self.register_buffer("high", torch.tensor(-torch.inf))

    @property
    def has_seen(self) -> bool:
        """Whether any value was observed; reads the device."""
        return bool(self.low <= self.high)

    @property
    def has_seen_nonzero(self) -> bool:
        """Whether the range holds more than zero; reads the device."""
        return self.has_seen and bool((self.low < 0) | (self.high > 0))

    @property
    def seen(self) -> kernels.Range | None:
        """The range that a new one can only widen, if so."""
        return (self.low, self.high) if self.rule == "running_minmax" else None

    @torch.no_grad()
    def observe(self, x: kernels.Rows, row_weight: Tensor | None = None, protected: Tensor | None = None) -> None:
        """Takes in float32 x [N, ...]: row i counts `row_weight[i]` times (int64 [N]; None: once), not at all if kept.

        protected: bool [N] or None.
        """
        self.update(*kernels.tail_range(x, self.tail, row_weight, protected, self.seen, self.percentile))

    @torch.no_grad()
    def update(self, low: Tensor, high: Tensor) -> None:
        """Joins a new range (float32, 0-d) with the old; (+inf, -inf), the range of nothing, changes nothing."""
        if self.rule == "running_minmax":
            self.low.copy_(torch.minimum(self.low, low))
            self.high.copy_(torch.maximum(self.high, high))
            return
        first = self.low > self.high
        empty = low > high
        if self.rule == "ema":
            low = torch.where(first, low, torch.lerp(self.low, low, self.momentum))
            high = torch.where(first, high, torch.lerp(self.high, high, self.momentum))
        self.low.copy_(torch.where(empty, self.low, low))
        self.high.copy_(torch.where(empty, self.high, high))

    def extra_repr(self) -> str:
        return f"tail={self.tail}, update={self.rule}, momentum={self.momentum}, percentile={self.percentile}"
