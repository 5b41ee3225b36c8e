"""`Weight`: the codes of a weight, their stored form, and the order in which the compiled product reads them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from dqrun.errors import ConfigError
from dqrun.kernels.integer.stored import pack_codes, storage_bits, unpack_codes

BLOCK = 64  # outputs computed together: four vectors of 16 int32
LANES = 16


def shift_of(bits: int) -> int:
    """The number that is added to stored codes of a weight of 2 to 4 bits: 2 for 2 bits, else 8."""
    return 1 << (storage_bits(bits) - 1)


@dataclass(frozen=True)
class Weight:
    """Codes of a symmetric per-tensor grid: `codes` int8 [M, K] (outputs, inputs), each in -127..127."""

    codes: Tensor

    def __post_init__(self) -> None:
        if self.codes.dtype != torch.int8 or self.codes.dim() != 2:
            raise ConfigError.rule("weight.codes", "be int8 [M, K]", f"{self.codes.dtype} {list(self.codes.shape)}")

    def packed(self, bits: int) -> Tensor:
        """The codes in the form of files and C: int8 [M, K] above 4 bits, else packed as in `stored`, uint8 [M, row
        bytes].

        Packed is w + 2^(b - 1) for a code w and b bits of storage; for 1 bit, 1 for the code +1 and 0 for -1.
        """
        if bits > 4:
            return self.codes
        return pack_codes((self.codes + 1 >> 1 if bits == 1 else self.codes + shift_of(bits)).to(torch.uint8), bits)

    @classmethod
    def of_packed(cls, stored: Tensor, inputs: int, bits: int) -> Weight:
        """The inverse of `packed`."""
        if bits > 4:
            return cls(stored)
        codes = unpack_codes(stored, inputs, bits).to(torch.int8)
        return cls(2 * codes - 1 if bits == 1 else codes - shift_of(bits))

    @cached_property
    def row_sums(self) -> Tensor:
        """Sum of each output's codes, int32 [M]; its product with x's zero point is subtracted from the output."""
        return self.codes.sum(1, dtype=torch.int32)

    @cached_property
    def is_of_signs(self) -> bool:
        """Whether each code is -1 or 1."""
        return bool((self.codes.abs() == 1).all())

    @cached_property
    def signs(self) -> tuple[Tensor, Tensor]:
        """The signs as the product of 1-bit codes reads them, and a mask of the bits that belong to inputs.

        Signs: int32 [outputs / 16, words, 16], flat, the outputs padded with -1 to a multiple of 16. Mask: int32
        [words]. A word has 32 bits of a row as in `stored`, the first byte lowest; bits of no input are 0.
        """
        padded = F.pad(self.codes, (0, 0, 0, -self.codes.size(0) % LANES), value=-1)
        rows = torch.cat([Weight(padded).packed(1), pack_codes(torch.ones_like(self.codes[:1]).byte(), 1)])
        words = F.pad(rows, (0, -rows.size(1) % 4)).contiguous().view(torch.int32)
        by_lane = words[:-1].view(-1, LANES, words.size(1)).transpose(1, 2)
        return by_lane.flatten(), words[-1].contiguous()

    @cached_property
    def blocked(self) -> Tensor:
        """The codes as the compiled product reads them, int8, flat.

        Inputs are padded with zeros to a multiple of 4, outputs to a multiple of 16. Blocks of up to 64 outputs follow
        each other, each [K / 4, outputs, 4]: an instruction multiplies 4 consecutive inputs by the codes of 16 outputs.
        """
        outputs, inputs = self.codes.shape
        padded = F.pad(self.codes, (0, -inputs % 4, 0, -outputs % LANES))
        groups = padded.view(padded.size(0), padded.size(1) // 4, 4).transpose(0, 1)
        firsts = range(0, padded.size(0), BLOCK)
        return torch.cat([groups[:, first : first + BLOCK].flatten() for first in firsts] or [padded.flatten()])
