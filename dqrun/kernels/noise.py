"""`Noise`: which elements a training step with quantisation noise rounds."""

from __future__ import annotations

from typing import NamedTuple


class Noise(NamedTuple):
    """Quantisation noise (Fan et al. 2021): a hash of its index decides whether an element is rounded or stays exact.

    rate: the share that is rounded, to 2^-24. low, high: the hash's seed, in 0..2^32 - 1; see `reference.keeps`.
    """

    rate: float
    low: int
    high: int


NO_NOISE = Noise(1.0, 0, 0)
"""The argument of an operator that stands for no noise."""
