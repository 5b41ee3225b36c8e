"""Flags as bits, against numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dqrun.kernels.cpu import bits
from dqrun.kernels.cpu.launch import driver
from dqrun.kernels.cpu.pointers import hold, pointers

words = st.integers(0, 2**32 - 1)
starts = st.integers(0, 8)
EXTREME = [np.inf, -np.inf, np.nan, 0.0, -0.0, 1e-45, 3.4e38]


@driver
def pack(flags: Any, start: int) -> Any:
    return bits.pack(flags, start)


@driver
def where_set(x: Any, y: Any, start: int, word: Any) -> None:
    bits.where_set(x, y, start, word)


@driver
def compared(x: Any, start: int, factor: Any, bound: Any) -> tuple[Any, Any, Any]:
    (at,) = pointers((x,))  # kernels compare through pointers
    words = (
        bits.below(at, start, factor, bound),
        bits.above(at, start, factor, bound),
        bits.equal(at, start, factor, bound),
    )
    hold((x,))
    return words


@driver
def lowest_and_count(word: Any) -> tuple[int, int]:
    return bits.lowest(word), bits.count(word)


def flags_of(word: int) -> np.ndarray:
    return np.array([word >> i & 1 for i in range(bits.WORD)], np.uint8)


@given(words, starts, st.integers(1, 255))
def test_pack(word: int, start: int, one: int) -> None:
    flags = np.full(64, 7, np.uint8)
    flags[start : start + bits.WORD] = flags_of(word) * np.uint8(one)
    assert int(pack(flags, start)) == word


@given(words, starts)
def test_where_set_touches_no_other_element(word: int, start: int) -> None:
    x, y = np.arange(1, 65, dtype=np.float32), np.full(64, -1, np.float32)
    expected = y.copy()
    expected[start : start + bits.WORD] = np.where(flags_of(word), x[start : start + bits.WORD], 0)
    where_set(x, y, start, np.uint32(word))
    assert np.array_equal(y, expected)


@given(st.integers(0, 999), starts, st.sampled_from([1.0, -1.0, 0.3, 0.0]), st.sampled_from([0.0, 1.0, -0.5, np.inf]))
def test_comparisons_are_those_of_float32_products(seed: int, start: int, factor: float, bound: float) -> None:
    x = np.random.default_rng(seed).integers(-3, 4, 64).astype(np.float32) / 2
    x[seed % 50 : seed % 50 + len(EXTREME)] = EXTREME
    factor, bound = np.float32(factor), np.float32(bound)
    with np.errstate(invalid="ignore", over="ignore"):
        product = x[start : start + bits.WORD] * factor
    expected = [product < bound, product > bound, product == bound]
    found = [flags_of(int(word)).astype(bool) for word in compared(x, start, factor, bound)]
    assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))


@given(words.filter(bool))
def test_lowest_and_count(word: int) -> None:
    assert lowest_and_count(np.uint32(word)) == ((word & -word).bit_length() - 1, word.bit_count())
