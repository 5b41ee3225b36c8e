"""Flags as bits of 32-bit words, in vectors of 32 lanes; the compiler does not vectorise such loops by itself."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from dqrun.kernels.cpu.launch import inner
from dqrun.kernels.cpu.vector import (
    F32x32,
    I32x32,
    U8x32,
    cast_bits,
    count_bits,
    count_lanes,
    load,
    lowest_bit,
    splat,
    store,
)
from dqrun.kernels.cpu.vector import word as word_of

WORD = 32  # flags of one word


@inner
def pack(flags: Any, start: int) -> Any:
    """flags[start:start + 32], uint8 zero or not, as the bits of a uint32, the first as the lowest."""
    return word_of(load(U8x32, flags, start) != 0)


@inner
def where_set(x: Any, y: Any, start: int, word: Any) -> None:
    """y[start:start + 32] = x there (both float32) where the bit of word is set, else 0.

    Each lane's bit is shifted to the sign and spread over the lane. A select by flags would become a masked load, which
    the prefetcher of some processors ignores (Zen 5: the pass takes twice the time).
    """
    mask = (splat(I32x32, word) << (WORD - 1 - count_lanes(I32x32))) >> (WORD - 1)
    store(y, start, cast_bits(F32x32, cast_bits(I32x32, load(F32x32, x, start)) & mask))


def _comparison(compare: Callable[[Any, Any], Any]) -> Any:
    @inner
    def compared(x: Any, start: int, factor: Any, bound: Any) -> Any:
        return word_of(compare(load(F32x32, x, start) * factor, bound))

    return compared


# bit i of the result, a uint32: whether factor * x[start + i] (float32) is below, above or equal to the bound
below, above, equal = (_comparison(compare) for compare in (operator.lt, operator.gt, operator.eq))
lowest, count = lowest_bit, count_bits
