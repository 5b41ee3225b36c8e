"""`Codes`: a node tensor as unsigned integers, stored as `stored` says."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dqrun.errors import ConfigError
from dqrun.kernels.integer.row_grid import RowGrid
from dqrun.kernels.integer.stored import Stored, pack_codes, unpack_codes

SLACK = 128
"""Readable bytes behind the last row: compiled kernels read whole vectors. Tensors without them are copied."""

SMALLEST_SCALE = 2.0**-126
"""The smallest normal float32: the scale and its inverse are float32 numbers, and no epilogue leaves float64."""


@dataclass(frozen=True)
class CodeGrid(Stored):
    """The codes 0..2^bits - 1 - spare, of which q stands for the real number `scale * (q - zero_point)`.

    It is the grid of a `QuantSpec` shifted to start at zero: `qmin` is subtracted from codes and zero point. `scale` is
    the float32 scale of training as a Python float; its inverse is taken in float64 (in float32 by `quantize`).
    `spare`: 1 for signed symmetric grids, which leave out a code. Raises ConfigError for numbers out of range.
    """

    bits: int
    scale: float
    zero_point: int
    spare: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= 8:
            raise ConfigError.rule("code_grid.bits", "be in 1..8", self.bits)
        if self.spare not in (0, 1) or self.spare >= self.bits:
            raise ConfigError.rule("code_grid.spare", "be 0, or 1 from 2 bits on", self.spare)
        if not 0 <= self.zero_point <= self.top:
            raise ConfigError.rule("code_grid.zero_point", f"be in 0..{self.top}", self.zero_point)
        if not SMALLEST_SCALE <= self.scale <= 1 / SMALLEST_SCALE:
            raise ConfigError.rule("code_grid.scale", "be in 2^-126..2^126", self.scale)


Grid = CodeGrid | RowGrid


@dataclass(frozen=True)
class Codes:
    """N rows of `channels` codes of a grid.

    `data`: uint8, contiguous, [N, grid.row_bytes(channels)], see `stored`. Make one from codes of a byte each with
    `Codes.of`. `numbers`: of a `RowGrid`, the scale and the offset of each row, float32 [N, 2], contiguous.
    """

    data: Tensor
    channels: int
    grid: Grid
    numbers: Tensor | None = None

    def __post_init__(self) -> None:
        self._check_numbers()
        width = self.grid.row_bytes(self.channels)
        if self.data.dtype != torch.uint8 or self.data.dim() != 2 or self.data.size(1) != width:
            got = f"{self.data.dtype} {list(self.data.shape)}"
            raise ConfigError.rule("codes.data", f"be uint8 [N, {width}]", got)

    def _check_numbers(self) -> None:
        numbers = self.numbers
        if (numbers is not None) != isinstance(self.grid, RowGrid):
            raise ConfigError("codes.numbers must be given for a grid of each row, and for no other")
        if numbers is not None and (numbers.dtype != torch.float32 or list(numbers.shape) != [self.num_rows, 2]):
            rule = f"be float32 [{self.num_rows}, 2]"
            raise ConfigError.rule("codes.numbers", rule, f"{numbers.dtype} {list(numbers.shape)}")

    @classmethod
    def of(cls, codes: Tensor, grid: Grid, numbers: Tensor | None = None) -> Codes:
        """Codes [N, channels] of any integer type, each in 0..2^bits - 1, as they are stored."""
        return cls(pack_codes(codes.to(torch.uint8), grid.bits), codes.size(1), grid, numbers)

    @classmethod
    def empty(cls, num_rows: int, channels: int, grid: Grid) -> Codes:
        """Uninitialised rows, with readable bytes after the last one."""
        width = grid.row_bytes(channels)
        memory = torch.empty(num_rows * width + SLACK, dtype=torch.uint8)
        numbers = torch.empty(num_rows, 2) if isinstance(grid, RowGrid) else None
        return cls(memory[: num_rows * width].view(num_rows, width), channels, grid, numbers)

    @property
    def num_rows(self) -> int:
        return self.data.size(0)

    @property
    def nbytes(self) -> int:
        """Bytes of the codes, and of the numbers of rows."""
        return self.data.numel() + (0 if self.numbers is None else 4 * self.numbers.numel())

    def unpack(self) -> Tensor:
        """The codes, uint8 [N, channels], one in a byte."""
        return self.data if self.grid.planes == 1 else unpack_codes(self.data, self.channels, self.grid.bits)

    @property
    def row_numbers(self) -> tuple[Tensor, Tensor]:
        """Of a `RowGrid`: the scales and what code 0 stands for, float64 [N] each, such that q is scale q + lowest."""
        assert self.numbers is not None and isinstance(self.grid, RowGrid)
        scale, offset = self.numbers.double().unbind(1)
        return scale, offset if self.grid.real_offset else scale * offset

    def real(self) -> Tensor:
        """The numbers that the codes stand for, float64 [N, channels]."""
        if isinstance(self.grid, CodeGrid):
            return (self.unpack().double() - self.grid.zero_point) * self.grid.scale
        scale, lowest = self.row_numbers
        return self.unpack().double() * scale.unsqueeze(1) + lowest.unsqueeze(1)

    def decode(self) -> Tensor:
        """The real numbers of `real`, rounded to float32 [N, channels]."""
        return self.real().float()
