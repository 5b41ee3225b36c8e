"""`QuantSpec`: which integers stand for which real numbers. Rounding is written here and in the kernels only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from dqrun.errors import ConfigError
from dqrun.quant.granularity import TENSOR, Granularity

SMALLEST_SCALE = 4 * torch.finfo(torch.float32).tiny  # smaller ones would overflow float32 when inverted
SMALLEST_UNIT_SCALE = torch.finfo(torch.float32).eps


class Scales(NamedTuple):
    """What codes are worth: float32 `scale`, int32 `zero_point`, of one shape, which broadcasts to the tensor's."""

    scale: Tensor
    zero_point: Tensor


@dataclass(frozen=True)
class QuantSpec:
    """The codes of a tensor, and how its real numbers become a grid.

    A code q stands for the real number `scale * (q - zero_point)` (Jacob et al. 2018, eq. 1), q from `qmin` to `qmax`.

    `bits`: width, 1..8. `signed`: codes on both sides of 0, otherwise from 0. `symmetric`: zero point 0; otherwise the
    grid is affine, [low, high] goes to [qmin, qmax]. Zero is always a value of the grid. `narrow`: a signed grid leaves
    out its most negative code. `granularity`: what shares a scale.

    `headroom`: share by which the range is widened first. The ends of a range are values that occur, and values are
    often multiples of one another (sums of codes, ends of opposite sign), so that without it many lie half-way between
    two codes, where the last bit of a sum decides. With it they do not: see docs/integer_engine.md.

    `collapsed`: the grid of a range that holds zero alone. "zero": the smallest scale, all values become 0 (to 1e-36).
    "unit": scale 1 and zero point 0, and no other scale is below float32's epsilon; as in Degree-Quant's released code.
    """

    bits: int
    signed: bool = True
    symmetric: bool = False
    narrow: bool = False
    granularity: Granularity = TENSOR
    headroom: float = 0.0
    collapsed: str = "zero"

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= 8:
            raise ConfigError.rule("spec.bits", "be in 1..8", self.bits)
        if self.narrow and not self.signed:
            raise ConfigError.rule("spec.narrow", "be false for an unsigned grid", self.narrow)

    @property
    def qmin(self) -> int:
        """Smallest code."""
        return -(1 << (self.bits - 1)) + self.narrow if self.signed else 0

    @property
    def qmax(self) -> int:
        """Largest code."""
        return (1 << (self.bits - 1 if self.signed else self.bits)) - 1

    def scales(self, low: Tensor, high: Tensor) -> Scales:
        """Scales of the grids that cover [low, high] (float32, any one shape), headroom and zero."""
        low, high = low.clamp(max=0.0), high.clamp(min=0.0)
        if self.headroom:
            low, high = low * (1.0 + self.headroom), high * (1.0 + self.headroom)
        if self.symmetric:
            scale = self._scale((torch.maximum(-low, high) if self.signed else high) / self.qmax)
            return Scales(scale, torch.zeros_like(scale, dtype=torch.int32))
        scale = self._scale((high - low) / (self.qmax - self.qmin))
        zero_point = (self.qmin - torch.round(low / scale)).clamp(self.qmin, self.qmax)
        if self.collapsed == "unit":
            zero_point = zero_point.where(high > low, 0.0)
        return Scales(scale, zero_point.to(torch.int32))

    def _scale(self, step: Tensor) -> Tensor:
        """The scale of a range in which two codes lie `step` >= 0 apart, both float32."""
        if self.collapsed == "unit":
            return step.clamp(min=SMALLEST_UNIT_SCALE).where(step > 0, 1.0)
        return step.clamp(min=SMALLEST_SCALE)

    def encode(self, x: Tensor, scales: Scales) -> Tensor:
        """Codes of real numbers, int32, same shape: round half to even, then clamp to [qmin, qmax]."""
        codes = torch.round(x * (1.0 / scales.scale)) + scales.zero_point
        return codes.clamp(self.qmin, self.qmax).to(torch.int32)

    def decode(self, codes: Tensor, scales: Scales) -> Tensor:
        """Real numbers (dtype of `scale`) that codes stand for, same shape."""
        return (codes - scales.zero_point).to(scales.scale.dtype) * scales.scale
