"""`RowGrid`: codes with a scale and an offset per row, computed from the row when it is encoded."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dqrun.errors import ConfigError
from dqrun.kernels.grid_of_range import Grid
from dqrun.kernels.integer.stored import Stored

OFFSETS = ("inside", "integer", "real", "symmetric")
LARGEST_VALUE = 2.0**64
"""The largest absolute value of the ends of a row's range: larger ones are clamped, so that all sums stay finite."""
MOST_SHARE = 64


@dataclass(frozen=True)
class RowGrid(Stored):
    """The codes 0..top of a row that has its own float32 scale s and offset o.

    `offset` "real": code q means s q + o, and o is the lower end of the row's range. Else it means s (q + o), and o is
    an integer: "inside": 0 has a code; "integer": 0 may have none; "symmetric": o is the same for all rows, -top / 2
    with a spare code (a signed grid) and 0 without. `power_of_two`: s is a power of two, so that a product with it is a
    shift. `headroom`: see `QuantSpec`. `share`: width of the range that the codes cover, about the middle of each
    row's range, in units of its width; None: the row's range.
    """

    bits: int
    offset: str = "integer"
    power_of_two: bool = False
    headroom: float = 0.0
    share: float | None = None
    spare: int = 0

    zero_point = 0
    """Codes count from 0; the offset of the row gives the value of code 0."""

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= 8:
            raise ConfigError.rule("row_grid.bits", "be in 1..8", self.bits)
        if self.offset not in OFFSETS:
            raise ConfigError.rule("row_grid.offset", f"be one of {', '.join(OFFSETS)}", self.offset)
        if self.spare not in (0, 1) or self.spare > (self.offset == "symmetric") or self.spare >= self.bits:
            raise ConfigError.rule("row_grid.spare", "be 0, or 1 on a symmetric grid from 2 bits on", self.spare)
        if not 0 <= self.headroom <= 1:
            raise ConfigError.rule("row_grid.headroom", "be in 0..1", self.headroom)
        if self.share is not None and not 0 < self.share <= MOST_SHARE:
            raise ConfigError.rule("row_grid.share", f"be in 0..{MOST_SHARE}", self.share)

    @property
    def real_offset(self) -> bool:
        """Whether offsets are real numbers; else they are integer numbers of steps."""
        return self.offset == "real"

    number_bytes = 8
    """Bytes of the scale and the offset of a row."""

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Codes of float32 x [N, C], float32 of the same shape, and each row's scale and offset, float32 [N, 2].

        All in float32, as in training.
        """
        ends = x.amin(1, keepdim=True), x.amax(1, keepdim=True)
        low, high = (end.clamp(-LARGEST_VALUE, LARGEST_VALUE) for end in ends)
        if self.share is not None:
            half, middle = (high - low) / 2 * self.share, (low + high) / 2
            low, high = middle - half, middle + half
        scale, zero_point, least = self._grid.scales(low, high)
        shifted = x if least is None else x - least
        codes = torch.round(shifted * (1.0 / scale)) + (zero_point - self._grid.qmin)
        offset = (self._grid.qmin - zero_point).float() if least is None else least
        return codes.clamp(0, self.top), torch.cat([scale, offset], 1)

    @property
    def _grid(self) -> Grid:
        """The same grid as in training."""
        symmetric, half = self.offset == "symmetric", self.top // 2 * self.spare
        offset = "inside" if symmetric else self.offset
        return Grid(-half, self.top - half, symmetric, self.headroom, offset, self.power_of_two)
