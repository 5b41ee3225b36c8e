"""`Grid`: computes scale and zero point of the codes for a range of real numbers; the definition in plain torch."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

SMALLEST_SCALE = 4 * torch.finfo(torch.float32).tiny  # smaller ones would overflow float32 when inverted
SMALLEST_UNIT_SCALE = torch.finfo(torch.float32).eps
MOST_RANGES_AWAY = 16
"""A range counts as at least this part of its largest size, so that an integer offset is at most so many ranges."""


class Grid(NamedTuple):
    """The range of codes, and the rules for their scale and zero point: the fields that `QuantSpec` explains.

    `offset`: where zero lies on an affine grid, "inside", "integer" or "real".
    """

    qmin: int
    qmax: int
    symmetric: bool = False
    headroom: float = 0.0
    offset: str = "inside"
    power_of_two: bool = False
    collapsed: str = "zero"

    def scales(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Scale, zero point (int32) and offset (None: 0) of the grids that cover [low, high], float32 of any one
        shape; low <= high."""
        if self.symmetric or self.offset == "inside":
            low, high = low.clamp(max=0.0), high.clamp(min=0.0)
        if self.headroom:
            low, high = low * (1.0 + self.headroom), high * (1.0 + self.headroom)
        if self.symmetric:
            scale = self._scale((torch.maximum(-low, high) if self.qmin < 0 else high) / self.qmax)
            return scale, torch.zeros_like(scale, dtype=torch.int32), None
        if self.offset == "integer":
            size = torch.maximum(-low, high) / MOST_RANGES_AWAY
            scale = self._scale(torch.maximum(high - low, size) / (self.qmax - self.qmin))
            return scale, (self.qmin - torch.round(low * (1.0 / scale))).to(torch.int32), None
        scale = self._scale((high - low) / (self.qmax - self.qmin))
        if self.offset == "real":
            return scale, torch.full_like(scale, self.qmin, dtype=torch.int32), low
        zero_point = (self.qmin - torch.round(low / scale)).clamp(self.qmin, self.qmax)
        if self.collapsed == "unit":
            zero_point = zero_point.where(high > low, 0.0)
        return scale, zero_point.to(torch.int32), None

    def with_zero(self) -> Grid:
        """The same, but with `offset` "integer" in place of "real": zero is a whole number of steps from the codes."""
        return self._replace(offset="integer") if self.offset == "real" else self

    def _scale(self, step: Tensor) -> Tensor:
        """The scale of a range in which two codes lie `step` >= 0 apart, both float32."""
        if self.collapsed == "unit":
            step = step.clamp(min=SMALLEST_UNIT_SCALE).where(step > 0, 1.0)
        else:
            step = step.clamp(min=SMALLEST_SCALE)
        return next_power_of_two(step) if self.power_of_two else step


def next_power_of_two(x: Tensor) -> Tensor:
    """The least power of two that is at least x > 0."""
    mantissa, exponent = torch.frexp(x)  # x = mantissa * 2^exponent, mantissa in [0.5, 1)
    return torch.ldexp(torch.ones_like(x), exponent - (mantissa == 0.5).to(exponent.dtype))
