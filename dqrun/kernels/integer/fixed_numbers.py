"""Integer arithmetic of the fixed-point rule: a rounding shift and a power of two."""

from __future__ import annotations

import torch
from torch import Tensor

ROW_FRACTION = 30
"""Fractional bits of row factors, of powers and of the slope of attention."""
LOG2_FRACTION = 20
"""Fractional bits of exponents of two."""
POWER = (1073741824, -744257900, 257895614, -59385867, 9895604, -1018363)
"""2^-f for f in [0, 1), in units of 2^-30: coefficients of f^0..f^5, of nearly minimal error; exact at 0 and 1."""


def round_shift(x: Tensor, shift: Tensor) -> Tensor:
    """x / 2^shift, int64, rounded to nearest, halves away from zero; 0 for shifts above 62. shift >= 0."""
    kept = shift.clamp(max=62)
    half = torch.bitwise_left_shift(torch.ones_like(kept), kept) >> 1
    found = torch.bitwise_right_shift(x.abs() + half, kept) * x.sign()
    return torch.where(shift > 62, 0, found)


def exp2_negative(x: Tensor) -> Tensor:
    """2^-x in units of 2^-30 for x >= 0 in units of 2^-20, int64, with an absolute error of at most 2^-23.

    An integer exponential as in I-BERT (Kim et al. 2021, algorithm 2), to base two and with a polynomial of degree 5.
    """
    whole, part = x >> LOG2_FRACTION, x & ((1 << LOG2_FRACTION) - 1)
    power = torch.full_like(x, POWER[-1])
    for coefficient in POWER[-2::-1]:
        power = coefficient + round_shift(power * part, torch.tensor(LOG2_FRACTION))
    return round_shift(power, whole)
