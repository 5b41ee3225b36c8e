"""`Grid`: which integers stand for which real numbers. Rounding is written here and in the kernels' definition only."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dqrun.errors import ConfigError

SMALLEST_SCALE = 4 * torch.finfo(torch.float32).tiny  # smaller ones would overflow float32 when inverted
SMALLEST_UNIT_SCALE = torch.finfo(torch.float32).eps


@dataclass(frozen=True)
class Grid:
    """A uniform grid of 2^bits codes (one fewer when signed and symmetric), zero always among its values.

    A code q stands for the real number `scale * (q - zero_point)` (Jacob et al. 2018, eq. 1). Affine grids map
    [low, high] to [qmin, qmax]; symmetric grids have zero point 0, signed ones leave out the most negative code.

    `headroom`: share by which the range is widened first. The ends of a range are values that occur, and values are
    often multiples of one another (sums of codes, ends of opposite sign), so that without it many lie half-way between
    two codes, where the last bit of a sum decides. With it they do not: see docs/integer_engine.md.

    `collapsed`: the grid of a range that holds zero alone. "zero": the smallest scale, all values become 0 (to 1e-36).
    "unit": scale 1 and zero point 0, and no other scale is below float32's epsilon; as in Degree-Quant's released code.
    """

    bits: int
    signed: bool = True
    symmetric: bool = False
    headroom: float = 0.0
    collapsed: str = "zero"

    def __post_init__(self) -> None:
        if not 2 <= self.bits <= 8:
            raise ConfigError.rule("grid.bits", "be in 2..8", self.bits)

    @property
    def qmin(self) -> int:
        """Smallest code."""
        if not self.signed:
            return 0
        return -(1 << (self.bits - 1)) + (1 if self.symmetric else 0)

    @property
    def qmax(self) -> int:
        """Largest code."""
        return (1 << (self.bits - 1 if self.signed else self.bits)) - 1

    def params(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        """Scale (float32) and zero point (int32), both 0-d, of the grid that covers [low, high], headroom and zero."""
        low, high = low.clamp(max=0.0), high.clamp(min=0.0)
        if self.headroom:
            low, high = low * (1.0 + self.headroom), high * (1.0 + self.headroom)
        if self.symmetric:
            scale = self._scale((torch.maximum(-low, high) if self.signed else high) / self.qmax)
            return scale, torch.zeros_like(scale, dtype=torch.int32)
        scale = self._scale((high - low) / (self.qmax - self.qmin))
        zero_point = (self.qmin - torch.round(low / scale)).clamp(self.qmin, self.qmax)
        if self.collapsed == "unit":
            zero_point = zero_point.where(high > low, 0.0)
        return scale, zero_point.to(torch.int32)

    def _scale(self, step: Tensor) -> Tensor:
        """The scale of a range in which two codes lie `step` >= 0 apart, both float32 0-d."""
        if self.collapsed == "unit":
            return step.clamp(min=SMALLEST_UNIT_SCALE).where(step > 0, 1.0)
        return step.clamp(min=SMALLEST_SCALE)

    def encode(self, x: Tensor, scale: Tensor, zero_point: Tensor) -> Tensor:
        """Codes of real numbers, int32, same shape: round half to even, then clamp to [qmin, qmax]."""
        codes = torch.round(x * (1.0 / scale)) + zero_point
        return codes.clamp(self.qmin, self.qmax).to(torch.int32)

    def decode(self, codes: Tensor, scale: Tensor, zero_point: Tensor) -> Tensor:
        """Real numbers (dtype of `scale`) that codes stand for, same shape."""
        return (codes - zero_point).to(scale.dtype) * scale
