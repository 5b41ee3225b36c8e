"""`sum_outer`: the gradient of a weight, x and grad tall: two to three times as fast as torch's product of their shape.

Tiles of the result stay in vector registers while a block of rows, which fits the cache, streams by.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from llvmlite import ir
from numba import prange, types
from numba.core import cgutils
from numba.extending import intrinsic
from torch import Tensor

from dqrun.kernels.cpu.launch import Array, array, inner, kernel, parts, scratch, share

ROWS = 256  # of a block
HEIGHT, LANES, VECTORS = 8, 16, 2  # of a tile: 8 x (2 vectors of 16)
WIDTH = LANES * VECTORS
_INT, _FLOAT, _VECTOR = ir.IntType(64), ir.FloatType(), ir.VectorType(ir.FloatType(), LANES)


def _add_tile(builder: Any, a: Any, a_stride: Any, b: Any, b_stride: Any, rows: Any, out: Any, out_stride: Any) -> None:
    """LLVM code for `add_tile`, given the addresses of the first elements."""
    zero = ir.Constant(_VECTOR, None)
    spread = ir.Constant(ir.VectorType(ir.IntType(32), LANES), None)
    multiply_add = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(_VECTOR, [_VECTOR] * 3), f"llvm.fmuladd.v{LANES}f32"
    )

    def vector_at(pointer: Any, index: Any) -> Any:
        return builder.bitcast(builder.gep(pointer, [index]), _VECTOR.as_pointer())

    before = builder.block
    loop, done = builder.append_basic_block("row"), builder.append_basic_block("rows_done")
    builder.branch(loop)
    builder.position_at_end(loop)
    row = builder.phi(_INT)
    row.add_incoming(ir.Constant(_INT, 0), before)
    totals = [builder.phi(_VECTOR) for _ in range(HEIGHT * VECTORS)]
    a_row, b_row = builder.gep(a, [builder.mul(row, a_stride)]), builder.gep(b, [builder.mul(row, b_stride)])
    vectors = [builder.load(vector_at(b_row, ir.Constant(_INT, LANES * j)), align=4) for j in range(VECTORS)]
    sums = []
    for i in range(HEIGHT):
        value = builder.load(builder.gep(a_row, [ir.Constant(_INT, i)]))
        first = builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
        factor = builder.shuffle_vector(first, ir.Constant(_VECTOR, ir.Undefined), spread)
        sums += [builder.call(multiply_add, [factor, vectors[j], totals[i * VECTORS + j]]) for j in range(VECTORS)]
    following = builder.add(row, ir.Constant(_INT, 1))
    row.add_incoming(following, loop)
    for total, new in zip(totals, sums, strict=True):
        total.add_incoming(zero, before)
        total.add_incoming(new, loop)
    builder.cbranch(builder.icmp_signed("<", following, rows), loop, done)
    builder.position_at_end(done)
    for k, total in enumerate(sums):
        column = ir.Constant(_INT, LANES * (k % VECTORS))
        place = vector_at(out, builder.add(builder.mul(ir.Constant(_INT, k // VECTORS), out_stride), column))
        builder.store(builder.fadd(builder.load(place, align=4), total), place, align=4)


@intrinsic
def add_tile(
    typing_context: Any, a: Any, a_first: Any, a_stride: Any, b: Any, b_first: Any, b_stride: Any, rows: Any,
    out: Any, out_first: Any, out_stride: Any,
) -> Any:  # fmt: skip
    """out[i, j] += sum over rows r >= 1 of a[r, i] * b[r, j], i < HEIGHT, j < WIDTH.

    a, b, out: flat float32 arrays; `first`: where the first element lies, `stride`: from one row to the next.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        a, a_first, a_stride, b, b_first, b_stride, rows, out, out_first, out_stride = arguments

        def address(which: int, value: Any, first: Any) -> Any:
            return builder.gep(context.make_array(signature.args[which])(context, builder, value).data, [first])

        tile = address(0, a, a_first), a_stride, address(3, b, b_first), b_stride, rows
        _add_tile(builder, *tile, address(7, out, out_first), out_stride)
        return context.get_dummy_value()

    i = types.int64
    return types.void(a, i, i, b, i, i, i, out, i, i), generate


@inner
def _copy_columns(x: Array, width: int, first: int, last: int, column: int, out: Array, out_width: int) -> None:
    """out [rows, out_width] = the columns from `column` on of rows first..last of x [N, width], then zeros."""
    for row in range(first, last):
        for j in range(out_width):
            inside = column + j < width
            out[(row - first) * out_width + j] = x[row * width + column + j] if inside else np.float32(0)


@kernel
def _sum_outer(a: Array, height: int, b: Array, width: int, num_rows: int, out: Array, out_width: int) -> None:
    """out [parts, padded height * out_width] = each part's sum; heights and widths are padded to whole tiles."""
    num_parts = out.shape[0]
    for part in prange(num_parts):
        start, stop = share(part, num_parts, num_rows)
        total = out[part]
        total[:] = 0
        last_a, last_b = np.empty(ROWS * HEIGHT, np.float32), np.empty(ROWS * WIDTH, np.float32)
        for first in range(start, stop, ROWS):
            last = min(first + ROWS, stop)
            if height % HEIGHT:
                _copy_columns(a, height, first, last, height - height % HEIGHT, last_a, HEIGHT)
            if width % WIDTH:
                _copy_columns(b, width, first, last, width - width % WIDTH, last_b, WIDTH)
            for j in range(0, width, WIDTH):
                whole_b = j + WIDTH <= width
                for i in range(0, height, HEIGHT):
                    from_a, from_b, place = first * height + i, first * width + j, i * out_width + j
                    if i + HEIGHT <= height and whole_b:
                        add_tile(a, from_a, height, b, from_b, width, last - first, total, place, out_width)
                    elif whole_b:
                        add_tile(last_a, 0, HEIGHT, b, from_b, width, last - first, total, place, out_width)
                    elif i + HEIGHT <= height:
                        add_tile(a, from_a, height, last_b, 0, WIDTH, last - first, total, place, out_width)
                    else:
                        add_tile(last_a, 0, HEIGHT, last_b, 0, WIDTH, last - first, total, place, out_width)


def sum_outer(a: Tensor, b: Tensor) -> Tensor:
    """a^T b: the sum over rows of outer products of a [N, H] and b [N, W], to [H, W]."""
    height, width = a.size(1), b.size(1)
    padded_height, padded_width = -(-height // HEIGHT) * HEIGHT, -(-width // WIDTH) * WIDTH
    out = scratch((parts(a.numel() * width // LANES), padded_height * padded_width), torch.float32)
    _sum_outer(array(a), height, array(b), width, a.size(0), out, padded_width)
    total = out[0] if len(out) == 1 else out.sum(0)
    return torch.from_numpy(total).view(padded_height, padded_width)[:height, :width].contiguous()
