"""`ShrunkRange`: the share of an observed range that gives the least error."""

from __future__ import annotations

import torch
from torch import Tensor

from dqrun.quant.observer import RangeObserver
from dqrun.quant.scales import Phase, Quantizable, ScaleProvider
from dqrun.quant.shares import SAMPLE, Search, best_share, on_grid
from dqrun.quant.spec import Scales

MOST = 4 * SAMPLE


class ShrunkRange(ScaleProvider):
    """An observed range times the share with the least error (see `best_share`).

    `start` observes the range. In `Phase.CALIBRATE` a sample of each batch is kept; the first use of the scales
    searches over all samples. In training each step searches anew over its own numbers.

    Buffer `share`: float32 of the shape of the range, 1 before anything was observed.
    """

    share: Tensor

    def __init__(self, start: RangeObserver, search: Search) -> None:
        super().__init__(start.spec)
        self.start, self.search = start, search
        self.register_buffer("share", torch.ones_like(start.low))
        self._seen: list[Tensor] = []

    @property
    def ready(self) -> bool:
        return self.start.ready

    @property
    def has_seen_nonzero(self) -> bool:
        """See `RangeObserver.has_seen_nonzero`."""
        return self.start.has_seen_nonzero

    @property
    def scale_shape(self) -> torch.Size:
        """Shape of the scales."""
        return self.share.shape

    @torch.no_grad()
    def observe(self, tensor: Quantizable[object], phase: Phase) -> bool:
        if not self.start.observe(tensor, phase):
            return False
        if phase is not Phase.CALIBRATE:
            self._seen.clear()
        self._seen.append(self._numbers(tensor))
        while sum(numbers.numel() for numbers in self._seen) > MOST and len(self._seen) > 1:
            self._seen = [numbers[::2] for numbers in self._seen]
        return True

    def _numbers(self, tensor: Quantizable[object]) -> Tensor:
        """A sample if there is one range; else (weights with a range per channel) all elements."""
        if self.share.dim() == 0:
            return self.ranks.joined(tensor.sample(SAMPLE))
        assert isinstance(tensor.x, Tensor)
        return tensor.x.detach()

    def forward(self, tensor: Quantizable[object]) -> Scales:
        return self.fixed()

    def fixed(self) -> Scales:
        if self._seen:
            numbers = self._seen[0] if len(self._seen) == 1 else torch.cat(self._seen)
            self._seen.clear()
            found = best_share(numbers, self.start.low, self.start.high, self.search, on_grid(self.spec))
            self.share.copy_(found)
        return self.spec.scales(self.start.low * self.share, self.start.high * self.share)

    def extra_repr(self) -> str:
        return f"candidates={self.search.candidates}, power={self.search.power}"
