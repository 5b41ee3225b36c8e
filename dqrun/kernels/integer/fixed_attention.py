"""GAT's attention in fixed point: integer logits, an integer softmax, weighted sums of codes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from dqrun.errors import ConfigError
from dqrun.graphs import CSR
from dqrun.kernels.integer.codes import Codes
from dqrun.kernels.integer.fixed_numbers import LOG2_FRACTION, ROW_FRACTION, exp2_negative, round_shift

MEAN_FRACTION = 22
"""Fractional bits of a weighted mean of codes: 255 * 2^22 < 2^30."""
LARGEST_LOGIT = 2**30 - 1
MOST_GUARD = 10
DIVISOR_BITS = 31
DIVIDEND_SHIFT = 8
QUOTIENT_SHIFT = 2 * DIVISOR_BITS - 1 - DIVIDEND_SHIFT - MEAN_FRACTION


@dataclass(frozen=True)
class FixedAttention:
    """Sums over edges of (code - zero point), weighted by a softmax, in steps of 2^-22 of a code.

    With scores s of sources and t of targets in units of 2^-20, to the base two, each clamped to +-(2^30 - 1):

        s[j, h] = sum over c of vectors[0, h, c] * (q[j, h, c] - zero point), shifted right by `guard`
        e       = s[j, h] + t[i, h], times `slope` / 2^30 if negative
        w       = 2^-(largest e of i and h - e), by `exp2_negative`
        acc     = (sum of w * (q[j, h, c] - zero point)) / (sum of w)

    The quotient: both sums are shifted right until the divisor has 31 bits; r = floor((2^61 + floor(divisor / 2)) /
    divisor); acc = (the dividend, shifted right by 8 more) * r, shifted right by 31. Without `concat` the sum over
    heads is shifted right by k = ceil(log2 H), and `unit` is larger by the factor 2^k / H. All shifts round; a node
    without edges has 0. vectors: int64 [2, H, C] in the range of int32.
    """

    vectors: Tensor
    guard: int
    slope: int
    concat: bool

    @classmethod
    def of(cls, attention: Tensor, scale: float, negative_slope: float, concat: bool) -> FixedAttention:
        """The attention of vectors float32 [2, H, C] over codes with a scale; raises ConfigError if too large."""
        real = attention.double() * (scale * math.log2(math.e) * 2.0**LOG2_FRACTION)
        guard = min(MOST_GUARD, 31 - math.frexp(float(real.abs().max()))[1])
        if guard < 0:
            raise ConfigError.rule("attention", "stay within 2^11 a step in fixed point", float(attention.abs().max()))
        vectors = torch.round(real * 2.0**guard).long().clamp(-(2**31) + 1, 2**31 - 1)
        return cls(vectors, guard, round(negative_slope * 2**ROW_FRACTION), concat)

    @property
    def head_bits(self) -> int:
        """Right shift of the sum over heads."""
        return 0 if self.concat else (self.vectors.size(1) - 1).bit_length()

    @property
    def unit(self) -> float:
        """The value of one unit of the result in steps of the codes."""
        heads = 1 if self.concat else self.vectors.size(1)
        return float(2.0 ** (self.head_bits - MEAN_FRACTION) / heads)

    def __call__(self, csr: CSR, h: Codes) -> Tensor:
        """acc, int64 [N, H * C], or [N, C] without `concat`."""
        values = (h.unpack().long() - h.grid.zero_point).view(h.num_rows, *self.vectors.shape[1:])
        source, target = (self._scores(values, vector) for vector in self.vectors)
        logits = source[csr.col] + target[csr.row]
        logits = torch.where(logits < 0, _shifted(logits * self.slope, ROW_FRACTION), logits)
        index = csr.row.unsqueeze(1).expand_as(logits)
        largest = torch.zeros_like(source).scatter_reduce(0, index, logits, "amax", include_self=False)
        weight = exp2_negative(largest[csr.row] - logits)
        total = torch.zeros_like(source).index_add_(0, csr.row, weight)
        sums = torch.zeros_like(values).index_add_(0, csr.row, weight.unsqueeze(2) * values[csr.col])
        means = weighted_mean(sums, total.unsqueeze(2))
        return means.flatten(1) if self.concat else _shifted(means.sum(1), self.head_bits)

    def _scores(self, values: Tensor, vector: Tensor) -> Tensor:
        return _shifted((values * vector).sum(-1), self.guard).clamp(-LARGEST_LOGIT, LARGEST_LOGIT)


def weighted_mean(sums: Tensor, total: Tensor) -> Tensor:
    """sums / total in 2^-22, int64; 0 if total is 0. total must be 0 or at least 2^30, |sums| at most 255 * total."""
    shift = (torch.frexp(total.double()).exponent.long() - DIVISOR_BITS).clamp(min=0)
    divisor = round_shift(total, shift).clamp(min=1)
    reciprocal = torch.div((1 << (2 * DIVISOR_BITS - 1)) + divisor // 2, divisor, rounding_mode="floor")
    mean = _shifted(round_shift(sums, shift + DIVIDEND_SHIFT) * reciprocal, QUOTIENT_SHIFT)
    return torch.where(total > 0, mean, 0)


def _shifted(x: Tensor, shift: int) -> Tensor:
    return round_shift(x, torch.tensor(shift))
