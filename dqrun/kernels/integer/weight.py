"""`Weight`: the codes of a weight, and the order in which the compiled product reads them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from dqrun.errors import ConfigError

BLOCK = 64  # outputs computed together: four vectors of 16 int32
LANES = 16


@dataclass(frozen=True)
class Weight:
    """Codes of a symmetric per-tensor grid: `codes` int8 [M, K] (outputs, inputs), each in -127..127."""

    codes: Tensor

    def __post_init__(self) -> None:
        if self.codes.dtype != torch.int8 or self.codes.dim() != 2:
            raise ConfigError.rule("weight.codes", "be int8 [M, K]", f"{self.codes.dtype} {list(self.codes.shape)}")

    @cached_property
    def row_sums(self) -> Tensor:
        """Sum of each output's codes, int32 [M]: times x's zero point, what that adds to every product."""
        return self.codes.sum(1, dtype=torch.int32)

    @cached_property
    def blocked(self) -> Tensor:
        """The codes as the compiled product reads them, int8, flat.

        Inputs padded with zeros to a multiple of 4, outputs to one of 16; blocks of up to 64 outputs one after the
        other, each [K / 4, outputs, 4]: an instruction multiplies 4 consecutive inputs by those of 16 outputs.
        """
        outputs, inputs = self.codes.shape
        padded = F.pad(self.codes, (0, -inputs % 4, 0, -outputs % LANES))
        groups = padded.view(padded.size(0), padded.size(1) // 4, 4).transpose(0, 1)
        firsts = range(0, padded.size(0), BLOCK)
        return torch.cat([groups[:, first : first + BLOCK].flatten() for first in firsts] or [padded.flatten()])
