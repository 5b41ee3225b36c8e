"""Selection by rank in linear time: float32 seen as integers of the same order."""

from __future__ import annotations

from typing import Any

import numpy as np

from dqrun.kernels.cpu.launch import Array, inner


@inner
def to_ordered(value: Any) -> Any:
    """The int32 that orders as the float32 does."""
    bits = np.float32(value).view(np.int32)
    return np.int32(bits ^ ((bits >> np.int32(31)) & np.int32(0x7FFFFFFF)))


@inner
def from_ordered(ordered: Any) -> Any:
    """The float32 that `to_ordered` made an int32 of."""
    bits = np.int32(ordered)
    return np.int32(bits ^ ((bits >> np.int32(31)) & np.int32(0x7FFFFFFF))).view(np.float32)


@inner
def select(values: Array, counts: Array, rank: Any) -> Any:
    """The element of that rank (from 0) in ascending order; values [n] float32, each counted counts [n] int64 times (empty: once).

    Radix selection over 11, 11 and 10 bits; the rank must be below the sum of counts.
    """
    histogram = np.empty(2048, np.int64)
    prefix = np.int64(0)
    above = 32
    while above > 0:
        shift = above - 11 if above > 11 else 0
        histogram[:] = 0
        for i in range(values.size):
            key = np.int64(to_ordered(values[i])) + 2147483648
            if key >> above == prefix:
                histogram[(key >> shift) & ((1 << (above - shift)) - 1)] += counts[i] if counts.size else 1
        digit = 0
        while histogram[digit] <= rank:
            rank -= histogram[digit]
            digit += 1
        prefix = (prefix << (above - shift)) + digit
        above = shift
    return from_ordered(prefix - 2147483648)
