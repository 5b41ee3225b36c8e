"""Layout of codes in memory: codes of 1 to 8 bits, each in 1, 2, 4 or 8 bits of a byte.

Grids, files, kernels and C use this one rule. A code is stored in its class, the smallest of 1, 2, 4 and 8 bits that
holds it, so that a byte has `planes` = 8, 4, 2 or 1 codes. A row of C codes has w = ceil(C / planes)
bytes: byte j has channel j in its lowest bits, channel j + w in the next ones, and so on. Shifting and masking a vector
of bytes therefore gives consecutive channels. Bits that belong to no channel are 0.
"""

from __future__ import annotations

import torch
from torch import Tensor

CLASSES = (1, 2, 4, 8)
"""Bits of storage of a code."""
PLANES = tuple(8 // size for size in CLASSES)
"""How many codes share a byte."""


def storage_bits(bits: int) -> int:
    """The class of a width of 1 to 8 bits."""
    return next(size for size in CLASSES if size >= bits)


def codes_per_byte(bits: int) -> int:
    """How many codes of a width of 1 to 8 bits share a byte."""
    return 8 // storage_bits(bits)


def row_bytes(channels: int, bits: int) -> int:
    """Bytes of a row of codes."""
    return -(-channels // codes_per_byte(bits))


class Stored:
    """Sizes that follow from the `bits` of a grid; the last `spare` codes are not used."""

    bits: int
    spare: int

    @property
    def top(self) -> int:
        """The largest code."""
        return int((1 << self.bits) - 1 - self.spare)

    @property
    def storage_bits(self) -> int:
        """Bits of storage of a code: 1, 2, 4 or 8."""
        return storage_bits(self.bits)

    @property
    def planes(self) -> int:
        """How many codes share a byte."""
        return codes_per_byte(self.bits)

    def row_bytes(self, channels: int) -> int:
        """Bytes of the codes of a row."""
        return row_bytes(channels, self.bits)


def pack_codes(codes: Tensor, bits: int) -> Tensor:
    """Packs codes below 2^bits, uint8 [N, C], one per byte, to uint8 [N, row_bytes(C, bits)]."""
    size, width = storage_bits(bits), row_bytes(codes.size(1), bits)
    packed = codes[:, :width].clone(memory_format=torch.contiguous_format)
    for plane in range(1, codes_per_byte(bits)):
        part = codes[:, plane * width : (plane + 1) * width]
        packed[:, : part.size(1)] |= part << (plane * size)
    return packed


def unpack_codes(data: Tensor, channels: int, bits: int) -> Tensor:
    """The inverse of `pack_codes`: uint8 [N, row_bytes(channels, bits)] -> [N, channels]."""
    size = storage_bits(bits)
    planes = [(data >> (plane * size)) & ((1 << size) - 1) for plane in range(codes_per_byte(bits))]
    return torch.cat(planes, 1)[:, :channels].contiguous()


def bits_behind(data: Tensor, channels: int, bits: int) -> int:
    """The largest code in the padding of rows, uint8 [N, row_bytes(channels, bits)]; it must be 0."""
    behind = unpack_codes(data, data.size(1) * codes_per_byte(bits), bits)[:, channels:]
    return int(behind.max()) if behind.numel() else 0
