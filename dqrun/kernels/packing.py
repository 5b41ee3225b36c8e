"""Packs codes of a rounded tensor in as few bytes as their width allows, for backward passes; in plain torch.

The layout suits vector instructions. Codes are in blocks of `BLOCK` elements, the last one padded with zeros. A byte of
a block holds the codes of elements at distances of `BLOCK * width / 8`, the first in its lowest bits.
"""

from __future__ import annotations

import torch
from torch import Tensor

BLOCK = 2048  # elements


def width_of_codes(qmin: int, qmax: int) -> int:
    """Bits in which a code lies: 1, 2, 4 or 8."""
    needed = (qmax - qmin).bit_length()
    return next(width for width in (1, 2, 4, 8) if width >= needed)


def packed_size(elements: int, width: int) -> int:
    """Bytes of so many codes."""
    return -(-elements // BLOCK) * (BLOCK * width // 8)


def pack_codes(codes: Tensor, width: int) -> Tensor:
    """Codes from 0 to 2^width - 1, of any shape and integer type, as uint8 [packed_size]."""
    planes = 8 // width
    padded = torch.nn.functional.pad(codes.flatten().int(), (0, -codes.numel() % BLOCK))
    by_plane = padded.view(-1, planes, BLOCK // planes)
    shifts = width * torch.arange(planes, device=codes.device, dtype=torch.int32).view(1, planes, 1)
    return (by_plane << shifts).sum(1).to(torch.uint8).flatten()


def unpack_codes(packed: Tensor, width: int, elements: int) -> Tensor:
    """The codes again, int32 [elements]."""
    planes = 8 // width
    shifts = width * torch.arange(planes, device=packed.device, dtype=torch.int32).view(1, planes, 1)
    by_plane = (packed.int().view(-1, 1, BLOCK // planes) >> shifts) & ((1 << width) - 1)
    return by_plane.flatten()[:elements]
