"""`sum_outer`: the gradient of a weight from tall x and grad, two to three times as fast as torch's product.

Tiles of the result stay in vector registers during a pass over a block of rows that fits the cache. `sum_outer_coded`
decodes x block by block, so that its floats never leave the cache.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from dqrun.kernels.cpu.codes import as_kernels_take, unpack
from dqrun.kernels.cpu.launch import Array, array, inner, kernel, parts, scratch, share
from dqrun.kernels.cpu.pointers import hold, pointers
from dqrun.kernels.cpu.vector import F32x16, fma, load, registers, repeat, splat, store
from dqrun.kernels.packing import BLOCK

ROWS = 256  # of a block of the product
HEIGHT, LANES, VECTORS = 8, 16, 2  # of a tile: 8 x (2 vectors of 16)
WIDTH = LANES * VECTORS
TILE = HEIGHT * VECTORS


@inner
def add_tile(
    a: Any, a_first: int, a_stride: int, b: Any, b_first: int, b_stride: int, rows: int,
    out: Any, out_first: int, out_stride: int,
) -> None:  # fmt: skip
    """out[i, j] += sum over rows r of a[r, i] * b[r, j], i < HEIGHT, j < WIDTH.

    a, b, out: float32; `first`: where the first element lies, `stride`: from one row to the next.
    """
    totals, vectors = registers(F32x16, TILE), registers(F32x16, VECTORS)
    for k in range(TILE):
        totals[k] = splat(F32x16, 0.0)
    for row in range(rows):
        for j in range(VECTORS):
            vectors[j] = load(F32x16, b, b_first + row * b_stride + LANES * j)
        for i in range(HEIGHT):
            factor = repeat(F32x16, a, a_first + row * a_stride + i, 1)
            for j in range(VECTORS):
                totals[i * VECTORS + j] = fma(factor, vectors[j], totals[i * VECTORS + j])
    for i in range(HEIGHT):
        for j in range(VECTORS):
            place = out_first + i * out_stride + LANES * j
            store(out, place, load(F32x16, out, place) + totals[i * VECTORS + j])


@inner
def _copy_columns(x: Any, x_first: int, width: int, rows: int, column: int, out: Any, out_width: int) -> None:
    """out [rows, out_width] = the columns from `column` on of x [rows, width] at x_first, then zeros."""
    for row in range(rows):
        for j in range(out_width):
            inside = column + j < width
            out[row * out_width + j] = x[x_first + row * width + column + j] if inside else np.float32(0)


@inner
def _add_rows(
    a: Any, a_first: int, height: int, b: Any, b_first: int, width: int, rows: int, last_a: Any, last_b: Any,
    out: Any, out_width: int,
) -> None:  # fmt: skip
    """out += a^T b of a block of rows; last_a, last_b: memory for the columns that fill no tile."""
    if height % HEIGHT:
        _copy_columns(a, a_first, height, rows, height - height % HEIGHT, last_a, HEIGHT)
    if width % WIDTH:
        _copy_columns(b, b_first, width, rows, width - width % WIDTH, last_b, WIDTH)
    for j in range(0, width, WIDTH):
        right, from_b, b_stride = (b, b_first + j, width) if j + WIDTH <= width else (last_b, 0, WIDTH)
        for i in range(0, height, HEIGHT):
            left, from_a, a_stride = (a, a_first + i, height) if i + HEIGHT <= height else (last_a, 0, HEIGHT)
            add_tile(left, from_a, a_stride, right, from_b, b_stride, rows, out, i * out_width + j, out_width)


@kernel
def _sum_outer(
    part: int, num_parts: int, a: Array, height: int, b: Array, width: int, num_rows: int, out: Array, out_width: int
) -> None:
    """out [parts, padded height * out_width] = each part's sum; heights and widths are padded to whole tiles."""
    start, stop = share(part, num_parts, num_rows)
    total = out[part]
    total[:] = 0
    last_a, last_b = np.empty(ROWS * HEIGHT, np.float32), np.empty(ROWS * WIDTH, np.float32)
    a_at, b_at, last_a_at, last_b_at, total_at = pointers((a, b, last_a, last_b, total))
    for first in range(start, stop, ROWS):
        rows, beside = min(ROWS, stop - first), (last_a_at, last_b_at)
        _add_rows(a_at, first * height, height, b_at, first * width, width, rows, *beside, total_at, out_width)
    hold((total, last_a, last_b))


@kernel
def _sum_outer_coded(
    part: int,
    num_parts: int,
    a: Array,
    height: int,
    codes: Array,
    protected: Array,
    exact: Array,
    bits: int,
    grid: Any,
    floor: Any,
    width: int,
    num_rows: int,
    out: Array,
    out_width: int,
) -> None:
    """`_sum_outer` of a and the numbers that codes of `bits` bits stand for; the rows of `exact` where `protected`."""
    start, stop = share(part, num_parts, num_rows)
    total = out[part]
    total[:] = 0
    last_a, last_b = np.empty(ROWS * HEIGHT, np.float32), np.empty(ROWS * WIDTH, np.float32)
    b = np.empty(ROWS * width + 2 * BLOCK, np.float32)
    a_at, b_at, last_a_at, last_b_at, total_at = pointers((a, b, last_a, last_b, total))
    codes_at, protected_at, exact_at = pointers((codes, protected, exact))
    rank = 0
    for row in range(start if protected.size > 0 else 0):
        rank += protected_at[row]
    for first in range(start, stop, ROWS):
        last, beside = min(first + ROWS, stop), (last_a_at, last_b_at)
        b_first = first * width // BLOCK * BLOCK
        for block in range(b_first, last * width, BLOCK):
            unpack(codes_at, b_at, b_first, block, min(block + BLOCK, num_rows * width), bits, grid, floor)
        for row in range(first, last if protected.size > 0 else first):
            if protected_at[row]:
                for i in range(width):
                    b_at[row * width - b_first + i] = exact_at[rank * width + i]
                rank += 1
        rows, from_b = last - first, first * width - b_first
        _add_rows(a_at, first * height, height, b_at, from_b, width, rows, *beside, total_at, out_width)
    hold((total, last_a, last_b, b))


class _Result:
    """The sums of parts for a [N, H] and b [N, W], in whole tiles, and what becomes of them."""

    def __init__(self, a: Tensor, width: int) -> None:
        self.height, self.width = a.size(1), width
        self.padded = -(-self.height // HEIGHT) * HEIGHT, -(-width // WIDTH) * WIDTH
        self.num_parts = parts(a.numel() * width // LANES)
        self.sums = scratch((self.num_parts, self.padded[0] * self.padded[1]), torch.float32)

    def total(self) -> Tensor:
        """float32 [H, W]."""
        total = self.sums[0] if self.num_parts == 1 else self.sums.sum(0)
        return torch.from_numpy(total).view(self.padded)[: self.height, : self.width].contiguous()


def sum_outer(a: Tensor, b: Tensor) -> Tensor:
    """a^T b: the sum over rows of outer products of a [N, H] and b [N, W], to [H, W]."""
    result, width = _Result(a, b.size(1)), b.size(1)
    _sum_outer(result.num_parts, array(a), a.size(1), array(b), width, a.size(0), result.sums, result.padded[1])
    return result.total()


def sum_outer_coded(a: Tensor, width: int, *coded: Any) -> Tensor:
    """`sum_outer` of a and a tensor [N, width] that was kept as codes, with the same bits.

    coded: the arguments of the operator `decode`, without the shape.
    """
    result, kept = _Result(a, width), as_kernels_take(*coded)
    _sum_outer_coded(result.num_parts, array(a), a.size(1), *kept, width, a.size(0), result.sums, result.padded[1])
    return result.total()
