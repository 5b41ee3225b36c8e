"""`LearnedFactor`: a learned factor of the range of each batch (QLR: Moustafa et al., CIKM 2023)."""

from __future__ import annotations

import torch
from torch import Tensor

from dqrun.kernels.grid_of_range import SMALLEST_SCALE
from dqrun.quant.learned import Learned
from dqrun.quant.observer import RangeObserver
from dqrun.quant.scales import Phase, Quantizable
from dqrun.quant.shares import SAMPLE, RoundsTo, Search, best_share
from dqrun.quant.spec import Scales

SMALLEST_FACTOR = 0.01
SUBSTEPS = 255
"""A zero point of eight bits lies on one of 256 places of the range."""


class LearnedFactor(Learned):
    """The range [a low, a high]: low and high of the last training batch, widened to hold zero; a is trained.

    a begins as the share that gives the least error on the first training step of `Phase.QUANTIZE` (`search`). It is
    used as max(a, 0.01). The gradient of a is that of the scale times (high - low) / (qmax - qmin). An element below
    the range contributes `low`, one above it `high`, one inside (code - zero point - x / scale) (high - low) / (qmax -
    qmin).

    `zero_point`: "integer", zero is on the grid; "real", the ends of the range are on the grid, zero need not be;
    "eight_bits", as "real", with the zero point rounded to one of 256 positions. The last two give `Scales` with a
    float32 zero point, for `OffsetRounding`. `rounded`: rounds numbers to the grid of a range, for the search.

    Parameter `factor`: float32 of the shape of the range, NaN until it begins.
    """

    parameter = "factor"
    factor: Tensor
    start: RangeObserver

    def __init__(self, start: RangeObserver, search: Search, zero_point: str, rounded: RoundsTo) -> None:
        super().__init__(start)
        self.search, self.zero_point, self.on_grid = search, zero_point, rounded

    @torch.no_grad()
    def observe(self, tensor: Quantizable[object], phase: Phase) -> bool:
        if not self.start.observe(tensor, phase):
            return False
        if not self.begun and phase is Phase.QUANTIZE and self.training and self.start.has_seen_nonzero:
            numbers = self.ranks.joined(tensor.sample(SAMPLE)) if self.factor.dim() == 0 else tensor.x
            assert isinstance(numbers, Tensor)
            self.begin(best_share(numbers, self.start.low, self.start.high, self.search, self.on_grid))
        return True

    def forward(self, tensor: Quantizable[object]) -> Scales:
        return self._scales(self.factor) if self.begun else self._scales(torch.ones_like(self.factor))

    def fixed(self) -> Scales:
        return self._scales(self.factor.detach()) if self.begun else self._scales(torch.ones_like(self.factor))

    def _scales(self, factor: Tensor) -> Scales:
        factor = factor.clamp(min=SMALLEST_FACTOR)
        low, high = self.start.low, self.start.high
        given = factor.detach()
        if self.zero_point == "integer":
            scales = self.spec.scales(given * low, given * high)
        else:
            scales = offset_scales(given * low, given * high, self.spec.qmax - self.spec.qmin, self.zero_point)
        return Scales(scales.scale * (factor / given), scales.zero_point)


def offset_scales(low: Tensor, high: Tensor, steps: int, zero_point: str) -> Scales:
    """Scales of a grid from low to high (widened to hold zero) with `steps` steps: both scale and zero point float32.

    Codes are 0 to `steps`.

    `zero_point`: "real" or "eight_bits", see `LearnedFactor`.
    """
    low, high = low.clamp(max=0.0), high.clamp(min=0.0)
    scale = ((high - low) / steps).clamp(min=SMALLEST_SCALE)
    place = -low / scale
    if zero_point == "eight_bits":
        place = torch.round(place * (SUBSTEPS / steps)) / (SUBSTEPS / steps)
    return Scales(scale, place)
