"""`QuantSpec`: which integers stand for which real numbers. Rounding is defined here and in the kernels only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from dqrun.errors import ConfigError
from dqrun.kernels.grid_of_range import Grid
from dqrun.quant.granularity import TENSOR, Granularity

OFFSETS = ("inside", "integer", "real")


class Scales(NamedTuple):
    """The values of codes: code q stands for `scale * (q - zero_point) + offset`.

    float32 `scale`, int32 `zero_point` and float32 `offset`, of one shape, which broadcasts to the tensor's. `offset`
    None means 0; only grids with `QuantSpec.offset` "real" have another offset. (`OffsetRounding` uses a float32
    `zero_point`.)
    """

    scale: Tensor
    zero_point: Tensor
    offset: Tensor | None = None


@dataclass(frozen=True)
class QuantSpec:
    """The codes of a tensor, and how its real numbers become a grid.

    A code q stands for the real number `scale * (q - zero_point)` (Jacob et al. 2018, eq. 1), q from `qmin` to `qmax`.

    `bits`: width, 1..8. `signed`: codes on both sides of 0, otherwise from 0. `symmetric`: zero point 0; otherwise the
    grid is affine and maps [low, high] to [qmin, qmax]. `narrow`: a signed grid leaves out its most negative code.
    `granularity`: which elements share a scale. A signed grid of 1 bit is the sign grid: its codes are -1 and +1, and 0
    becomes +1. Other symmetric grids, and affine ones with `offset` "inside", have a code for zero (finite ranges).

    `offset`, for affine grids: where zero lies on the grid. "inside": the range is widened to hold zero, which has a
    code. "integer": zero is a whole number of steps away from the codes. The zero point may lie outside [qmin, qmax],
    by up to `MOST_RANGES_AWAY` (16) ranges: a range narrower than 1/16 of the absolute value of its larger end counts
    as that wide. "real": zero lies anywhere; qmin stands for low itself (`Scales.offset`). `power_of_two`: the scale is
    rounded up to a power of two.

    `headroom`: the share by which the range is widened first. The ends of a range are values of the tensor, and other
    values are often simple multiples of them (sums of codes, ends of opposite sign). Without headroom many values lie
    half-way between two codes, where the last bit of a float sum decides: see docs/explanation/integer_engine.md.

    `collapsed`: the grid of a range that holds zero alone. "zero": the smallest scale, all values become 0 (to 1e-36).
    "unit": scale 1 and zero point 0, and no other scale is below float32's epsilon; as in Degree-Quant's released code.

    Raises ConfigError for `bits` outside 1..8, an unsigned narrow grid, an unknown `offset`, and a signed grid of 1 bit
    that is not symmetric and narrow.
    """

    bits: int
    signed: bool = True
    symmetric: bool = False
    narrow: bool = False
    granularity: Granularity = TENSOR
    headroom: float = 0.0
    collapsed: str = "zero"
    offset: str = "inside"
    power_of_two: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= 8:
            raise ConfigError.rule("spec.bits", "be in 1..8", self.bits)
        if self.narrow and not self.signed:
            raise ConfigError.rule("spec.narrow", "be false for an unsigned grid", self.narrow)
        if self.offset not in OFFSETS:
            raise ConfigError.rule("spec.offset", f"be one of {', '.join(OFFSETS)}", self.offset)
        if self.is_sign and not (self.symmetric and self.narrow):
            raise ConfigError.rule("spec.symmetric and spec.narrow", "be true for a signed grid of 1 bit", False)

    @property
    def is_sign(self) -> bool:
        """Whether the codes are -1 and +1."""
        return self.bits == 1 and self.signed

    @property
    def qmin(self) -> int:
        """Smallest code."""
        if self.is_sign:
            return -1
        return -(1 << (self.bits - 1)) + self.narrow if self.signed else 0

    @property
    def qmax(self) -> int:
        """Largest code."""
        if self.is_sign:
            return 1
        return (1 << (self.bits - 1 if self.signed else self.bits)) - 1

    @property
    def grid(self) -> Grid:
        """The same as the tuple that kernels take."""
        how = self.headroom, self.offset, self.power_of_two, self.collapsed
        return Grid(self.qmin, self.qmax, self.symmetric, *how)

    def scales(self, low: Tensor, high: Tensor) -> Scales:
        """Scales of the grids that cover [low, high] and headroom; low <= high, float32 of the shape of the scales.

        See `Grid.scales`.
        """
        return Scales(*self.grid.scales(low, high))

    def encode(self, x: Tensor, scales: Scales) -> Tensor:
        """Codes of x (float), int32, same shape: rounded half to even, then clamped to [qmin, qmax]."""
        if self.is_sign:
            return torch.where(x < 0, -1, 1).to(torch.int32)
        x = x if scales.offset is None else x - scales.offset
        codes = torch.round(x * (1.0 / scales.scale)) + scales.zero_point
        return codes.clamp(self.qmin, self.qmax).to(torch.int32)

    def decode(self, codes: Tensor, scales: Scales) -> Tensor:
        """The real numbers that codes stand for: dtype of `scale`, same shape."""
        x = (codes - scales.zero_point).to(scales.scale.dtype) * scales.scale
        return x if scales.offset is None else x + scales.offset
