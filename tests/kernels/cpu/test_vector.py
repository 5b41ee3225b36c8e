"""Vectors in compiled functions, against numpy; in a process of its own for a processor with AVX2 only."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import numba
import numpy as np
import pytest

from dqrun.kernels.cpu.launch import Array
from dqrun.kernels.cpu.vector import (
    B16,
    B32,
    HAS_VNNI,
    F32x16,
    F32x32,
    F64x16,
    I8x16,
    I8x64,
    I32x16,
    I64x16,
    U8x16,
    U8x64,
    add_dots,
    cast_bits,
    convert,
    count_lanes,
    count_ones,
    fma,
    from_word,
    gather,
    high_half,
    highest_lane,
    interleave,
    join,
    lanes_below,
    load,
    load_first,
    low_half,
    lowest_lane,
    maximum,
    minimum,
    nearest,
    permute,
    prefetch,
    registers,
    repeat,
    rint,
    splat,
    store,
    store_first,
    sum_lanes,
    where,
    word,
)

HEIGHT = 3  # of a block of sums
compiled: Any = numba.njit  # typed for functions of objects alone


@compiled
def floats(x: Array, y: Array, out: Array) -> None:
    v, w = load(F32x16, x, 0), load(F32x16, y, 0)
    store(out, 0, v + w * 2.0 - v / w)
    store(out, 16, minimum(v, w))
    store(out, 32, maximum(v, 0.0))
    store(out, 48, where(v < w, v, -1.0))
    store(out, 64, fma(v, w, v))
    store(out, 80, rint(v * 4.0))
    store(out, 96, -v)
    w += v
    store(out, 112, w)


def test_floats() -> None:
    x, y = np.linspace(-3, 3, 16, dtype=np.float32), np.linspace(2, -2.5, 16, dtype=np.float32)
    out = np.zeros(128, np.float32)
    floats(x, y, out)
    expected = [x + y * 2 - x / y, np.minimum(x, y), np.maximum(x, 0), np.where(x < y, x, -1)]
    expected += [None, np.rint(x * 4), -x, y + x]
    for part, wanted in zip(out.reshape(8, 16), expected, strict=True):
        if wanted is None:
            np.testing.assert_allclose(part, x * y + x, rtol=1e-5)
        else:
            np.testing.assert_array_equal(part, wanted)


@compiled
def some(x: Array, first: int, out: Array, count: int) -> None:
    store_first(out, first, load_first(F32x16, x, first, count), count)


@pytest.mark.parametrize("count", [1, 5, 15, 16, 40])
def test_no_more_than_the_first_lanes_are_stored(count: int) -> None:
    x, out = np.arange(1, 60, dtype=np.float32), np.zeros(60, np.float32)
    some(x, 2, out, count)
    used = min(count, 16)
    assert out[2 : 2 + used].tolist() == x[2 : 2 + used].tolist()
    assert out.sum() == x[2 : 2 + used].sum()


@compiled
def integers(x: Array, out: Array) -> None:
    v = convert(I32x16, load(U8x16, x, 0)) - 100
    store(out, 0, v >> 2)
    store(out, 16, (v & 15) | (v ^ 3) << 1)
    store(out, 32, convert(I32x16, convert(I8x16, v)))
    store(out, 48, ~v)
    store(out, 64, cast_bits(I32x16, convert(F32x16, v)))
    store(out, 80, where((v > 3) & (v != 7), v, 0))
    store(out, 96, count_lanes(I32x16) + splat(I32x16, 1))


def test_integers() -> None:
    x, out = np.arange(0, 255, 16, dtype=np.uint8), np.zeros(112, np.int32)
    integers(x, out)
    v = x.astype(np.int32) - 100
    expected = [v >> 2, (v & 15) | (v ^ 3) << 1, v.astype(np.int8), ~v, v.astype(np.float32).view(np.int32)]
    expected += [np.where((v > 3) & (v != 7), v, 0), np.arange(1, 17)]
    np.testing.assert_array_equal(out.reshape(7, 16), np.stack(expected))


@compiled
def rounded(x: Array, out: Array) -> None:
    store(out, 0, nearest(load(F64x16, x, 0)))


@compiled
def bits(x: Array, out: Array) -> None:
    store(out, 0, count_ones(load(I32x16, x, 0)))


def test_bits_are_counted() -> None:
    x, out = np.array([0, 1, -1, 255, -(2**31), 2**30 + 5, *range(10)], np.int32), np.zeros(16, np.int32)
    bits(x, out)
    assert out.tolist() == [(int(value) & 0xFFFFFFFF).bit_count() for value in x]


def test_nearest_takes_halves_to_even_and_ends_at_the_least_integer() -> None:
    x = np.array([0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 2.0**31 - 1, -(2.0**31), -1e300, -np.inf] + [7.49] * 6)
    out = np.zeros(16, np.int32)
    rounded(x, out)
    assert out.tolist() == [0, 2, 2, 0, -2, -2, 2**31 - 1, *([-(2**31)] * 3), *([7] * 6)]


@compiled
def block(x: Array, stride: int, y: Array, groups: int, out: Array) -> None:
    """Products of HEIGHT rows of bytes with 16 columns, four rows of y side by side."""
    sums = registers(I32x16, HEIGHT)
    for r in range(HEIGHT):
        sums[r] = splat(I32x16, r)
    for k in range(groups):
        factors = load(I8x64, y, 64 * k)
        for r in range(HEIGHT):
            sums[r] = add_dots(sums[r], repeat(U8x64, x, r * stride + 4 * k, 4), factors)
    for r in range(HEIGHT):
        store(out, 16 * r, sums[r])


def test_a_block_of_sums_stays_in_registers() -> None:
    generator, groups = np.random.default_rng(0), 9
    x = generator.integers(0, 256, (HEIGHT, 4 * groups), dtype=np.uint8)
    y, out = generator.integers(-128, 128, (groups, 16, 4), dtype=np.int8), np.zeros((HEIGHT, 16), np.int32)
    block(x.ravel(), 4 * groups, y.ravel(), groups, out.ravel())
    columns = y.transpose(0, 2, 1).reshape(-1, 16).astype(np.int32)
    np.testing.assert_array_equal(out, x.astype(np.int32) @ columns + np.arange(HEIGHT)[:, None])
    (code,) = block.inspect_asm().values()
    lines = code.splitlines()
    used = [line for line in lines if "vpdpbusd" in line]
    assert not HAS_VNNI or (len(used) >= HEIGHT and not any("rsp" in line for line in used))


@compiled
def arrange(x: Array, out: Array) -> None:
    v = load(F32x16, x, 0)
    store(out, 0, join(high_half(v), low_half(v)))
    store(out, 16, interleave(v, -v))
    store(out, 48, permute(v, 15 - count_lanes(I32x16)))
    store(out, 64, gather(F32x16, x, count_lanes(I64x16) * 2))
    store(out, 80, gather(F32x16, x, count_lanes(I32x16) + 16))
    out[96], out[97], out[98] = lowest_lane(v), highest_lane(v), sum_lanes(v)
    prefetch(x, 10**6)


def test_lanes_are_arranged() -> None:
    x, out = np.random.default_rng(0).normal(size=32).astype(np.float32), np.zeros(99, np.float32)
    arrange(x, out)
    v = x[:16]
    np.testing.assert_array_equal(out[:16], np.concatenate([v[8:], v[:8]]))
    np.testing.assert_array_equal(out[16:48], np.stack([v, -v], 1).ravel())
    np.testing.assert_array_equal(out[48:64], v[::-1])
    np.testing.assert_array_equal(out[64:96], np.concatenate([x[::2], x[16:]]))
    total = v.copy()
    while total.size > 1:
        total = total[: total.size // 2] + total[total.size // 2 :]
    assert out[96:].tolist() == [v.min(), v.max(), total[0]]


@compiled
def masks(x: Array, count: int, bits: int, out: Array) -> Any:
    store(out, 0, where(from_word(B16, bits), splat(F32x16, 1.0), 0.0))
    store(out, 16, where(count > 3, load(F32x16, x, 0), 2.0))
    flags = load(F32x32, x, 0) > 0.0
    return word(flags), word(lanes_below(F32x16, count)), word(from_word(B32, word(flags)) & ~flags)


def test_masks_are_words() -> None:
    x, out = np.random.default_rng(0).normal(size=32).astype(np.float32), np.zeros(32, np.float32)
    positive, first, none = masks(x, 5, 0b1000000000000101, out)
    assert positive == sum(int(value > 0) << lane for lane, value in enumerate(x))
    assert (first, none) == (31, 0)
    assert out[:16].tolist() == [1, 0, 1, *([0] * 12), 1]
    assert out[16:].tolist() == x[:16].tolist()


def test_a_processor_with_avx2_gives_the_same() -> None:
    environment = os.environ | {"NUMBA_CPU_NAME": "x86-64-v3", "NUMBA_CPU_FEATURES": ""}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__, "-k", "not a_processor"]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout
