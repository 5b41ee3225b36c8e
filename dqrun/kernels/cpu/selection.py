"""Selection by rank in linear time: float32 are mapped to integers of the same order."""

from __future__ import annotations

from typing import Any

import numpy as np

from dqrun.kernels.cpu.launch import inner

MOST_DIGITS = 11
HISTOGRAM = 1 << MOST_DIGITS  # counters


@inner
def to_ordered(value: Any) -> Any:
    """The int32 for a float32, so that integers and floats have the same order."""
    bits = np.float32(value).view(np.int32)
    return np.int32(bits ^ ((bits >> np.int32(31)) & np.int32(0x7FFFFFFF)))


@inner
def from_ordered(ordered: Any) -> Any:
    """The inverse of `to_ordered`."""
    bits = np.int32(ordered)
    return np.int32(bits ^ ((bits >> np.int32(31)) & np.int32(0x7FFFFFFF))).view(np.float32)


@inner
def _key(value: Any) -> Any:
    """The int64 in 0..2^32 - 1 for a float32, with the same order."""
    return np.int64(to_ordered(value)) + 2147483648


@inner
def select(values: Any, size: int, counts: Any, counted: Any, histogram: Any, rank: Any) -> Any:
    """The element of rank `rank` (from 0) in ascending order; arguments are arrays or pointers.

    values: float32 [size]. counts: int64 [size], how often each counts, if `counted`, else each counts once. histogram:
    int64 [HISTOGRAM], with any content.

    Radix selection, 11 bits at a time, or 8 where there are fewer values than counters; the rank must be below the sum
    of counts. Overwrites values and counts.
    """
    digits = MOST_DIGITS if size > 4096 else 8
    prefix, above = np.int64(0), 32
    while above > 0:
        shift = max(0, above - digits)
        for i in range(1 << digits):
            histogram[i] = 0
        for i in range(size):
            histogram[(_key(values[i]) >> shift) & ((1 << (above - shift)) - 1)] += counts[i] if counted else 1
        digit = 0
        while histogram[digit] <= rank:
            rank -= histogram[digit]
            digit += 1
        prefix = (prefix << (above - shift)) + digit
        kept = 0
        for i in range(size):
            if _key(values[i]) >> shift == prefix:
                values[kept] = values[i]
                if counted:
                    counts[kept] = counts[i]
                kept += 1
        size, above = kept, shift
    return from_ordered(prefix - 2147483648)
