"""`RangeObserver`: scales from the observed range of a tensor."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dqrun import kernels
from dqrun.kernels.operator import is_watched
from dqrun.quant.scales import Phase, Quantizable, ScaleProvider
from dqrun.quant.spec import QuantSpec, Scales


class RangeObserver(ScaleProvider):
    """Tracks the range [low, high] of a tensor over training steps, leaving a share `tail` outside on each side.

    `shape` of the scales: () for one range, or of `Granularity.scale_shape`: each channel has its own range, and `tail`
    is a share of its elements. `update` says how a new range joins the old: "running_minmax" (running extremes; what
    the released Degree-Quant code does with its percentiles), "ema" (exponential moving average, first range as it is;
    Jacob et al. 2018, sec. 3.1), "last_batch" (the newest replaces the old). `percentile`: which elements end the
    range, see `kernels.tail_range`.

    Observes while training, and in `Phase.CALIBRATE`. Buffers `low`, `high`: float32 of `shape`, (+inf, -inf) until
    something was seen.
    """

    low: Tensor
    high: Tensor

    def __init__(
        self,
        spec: QuantSpec,
        shape: tuple[int, ...] = (),
        tail: float = 0.0,
        update: str = "ema",
        momentum: float = 0.01,
        percentile: str = "symmetric",
    ) -> None:
        super().__init__(spec)
        self._ends: tuple[float, float] | None = None
        self._scales: Scales | None = None  # of the range `_ends`: in most training steps the range does not change
        self.tail, self.rule, self.momentum, self.percentile = tail, update, momentum, percentile
        self.register_buffer("low", torch.full(shape, torch.inf))
        self.register_buffer("high", torch.full(shape, -torch.inf))

    @property
    def _range(self) -> kernels.Range:
        """`low` and `high`. Attributes of modules that are tensors are slow to read, and each step reads them often."""
        buffers: dict[str, Any] = self._buffers
        return buffers["low"], buffers["high"]

    @property
    def ready(self) -> bool:
        return bool((self.low <= self.high).all())

    @property
    def scale_shape(self) -> torch.Size:
        """Shape of the scales."""
        return self.low.shape

    @property
    def has_seen_nonzero(self) -> bool:
        """Whether a range contains a value other than zero; reads the device."""
        return bool(((self.low <= self.high) & ((self.low < 0) | (self.high > 0))).any())

    def observe(self, tensor: Quantizable[object], phase: Phase) -> bool:
        if not self.training and phase is not Phase.CALIBRATE:
            return False
        ends = self._range
        seen = ends if self.rule == "running_minmax" else None
        low, high = self.ranks.range(tensor, tuple(ends[0].shape), self.tail, seen, self.percentile)
        if seen is None:
            low, high = self._joined(*ends, low, high)
        ends[0].copy_(low)
        ends[1].copy_(high)
        return True

    def _joined(self, old_low: Tensor, old_high: Tensor, low: Tensor, high: Tensor) -> kernels.Range:
        """A new range joined with the old one, float32 of `shape`; a new one without elements changes nothing."""
        first, empty = old_low > old_high, low > high
        if self.rule == "ema":
            low = torch.where(first, low, torch.lerp(old_low, low, self.momentum))
            high = torch.where(first, high, torch.lerp(old_high, high, self.momentum))
        return torch.where(empty, old_low, low), torch.where(empty, old_high, high)

    def forward(self, tensor: Quantizable[object]) -> Scales:
        return self.fixed()

    def fixed(self) -> Scales:
        low, high = self._range
        if not self._keeps_scales(low):
            return self.spec.scales(low, high)
        ends = low.item(), high.item()
        if self._scales is None or ends != self._ends:
            self._ends, self._scales = ends, self.spec.scales(low, high)
        return self._scales

    def _keeps_scales(self, low: Tensor) -> bool:
        """Whether comparing ranges costs less than computing scales: for a single range, on the CPU."""
        if torch.compiler.is_compiling() or low.dim() or low.device.type != "cpu":
            return False
        return not (is_watched(low) or torch.is_inference_mode_enabled())

    def extra_repr(self) -> str:
        return f"tail={self.tail}, update={self.rule}, momentum={self.momentum}, percentile={self.percentile}"
