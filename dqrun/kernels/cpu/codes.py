"""Codes of a rounded tensor, packed as `packing` lays them out, and the tensor that they stand for."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from dqrun.kernels.cpu.grids import INFINITY, grid_values
from dqrun.kernels.cpu.launch import NO_FLAGS, NO_FLOATS, Array, array, inner, kernel, optional, parts, share
from dqrun.kernels.cpu.pointers import hold, pointers
from dqrun.kernels.packing import BLOCK, packed_size, width_of_codes


@inner
def _pack(marks: Any, packed: Any, first: int, width: int) -> None:
    """Writes the packed codes of a block, marks uint8 [BLOCK], to packed[first:]."""
    size = BLOCK * width // 8
    if width == 8:
        for i in range(size):
            packed[first + i] = marks[i]
    elif width == 4:
        for i in range(size):
            packed[first + i] = marks[i] | np.uint8(marks[i + size] << np.uint8(4))
    else:
        for i in range(size):
            packed[first + i] = marks[i]
        for plane in range(1, 8 // width):
            shift = np.uint8(plane * width)
            for i in range(size):
                packed[first + i] |= np.uint8(marks[plane * size + i] << shift)


@kernel
def _encode(part: int, num_parts: int, x: Array, packed: Array, width: int, grid: Any) -> None:
    """packed = the codes of x, of `width` bits; grid: 1 / scale, the zero point less the lowest code, and the largest
    number of a code."""
    size, (inverse, shift, largest) = x.size, grid
    start, stop = share(part, num_parts, (size + BLOCK - 1) // BLOCK)
    marks = np.empty(BLOCK, np.uint8)
    x_at, packed_at, marks_at = pointers((x, packed, marks))
    for block in range(start, stop):
        first, count = block * BLOCK, min(BLOCK, size - block * BLOCK)
        for i in range(count):
            number = np.rint(x_at[first + i] * inverse) + shift
            number = number if number >= np.float32(0) else np.float32(0)  # also for NaN
            marks_at[i] = np.uint8(np.int32(largest if number > largest else number))
        for i in range(count, BLOCK):
            marks_at[i] = np.uint8(0)
        _pack(marks_at, packed_at, block * (BLOCK * width // 8), width)
    hold((marks,))


def encode(x: Tensor, scale: Tensor, zero_point: Tensor, qmin: int, qmax: int) -> Tensor:
    width = width_of_codes(qmin, qmax)
    packed = torch.empty(packed_size(x.numel(), width), dtype=torch.uint8)
    if x.numel():
        inverse = grid_values(scale, zero_point, qmin, qmax, "ste")[0]
        grid = inverse, np.float32(zero_point.item() - qmin), np.float32(qmax - qmin)
        _encode(parts(x.numel()), array(x), array(packed), width, grid)
    return packed


@inner
def unpack(packed: Any, y: Any, y_first: int, first: int, last: int, width: int, grid: Any, floor: Any) -> None:
    """y = the numbers of the elements first..last of a block, first being its first; y_first: the index of y[0] among
    all elements; grid: qmin less the zero point, and the scale."""
    block, size, (lowest, scale) = first // BLOCK, BLOCK * width // 8, grid
    mask = np.uint8((1 << width) - 1)
    for plane in range(8 // width):
        shift, start = np.uint8(plane * width), block * BLOCK + plane * size
        code = block * size - start
        for i in range(start, min(start + size, last)):
            number = (np.float32(np.uint8(packed[code + i] >> shift) & mask) + lowest) * scale
            y[i - y_first] = floor if number < floor else number


@kernel
def _decode(
    part: int,
    num_parts: int,
    packed: Array,
    y: Array,
    protected: Array,
    exact: Array,
    row_width: int,
    width: int,
    grid: Any,
    floor: Any,
) -> None:
    """y = the numbers that codes of `width` bits stand for; the rows of `exact` where `protected`."""
    size = y.size
    start, stop = share(part, num_parts, (size + BLOCK - 1) // BLOCK)
    packed_at, y_at, protected_at, exact_at = pointers((packed, y, protected, exact))
    for block in range(start * BLOCK, min(stop * BLOCK, size), BLOCK):
        unpack(packed_at, y_at, 0, block, min(block + BLOCK, size), width, grid, floor)
    if protected.size > 0:
        first, last = start * BLOCK, min(stop * BLOCK, size)
        rank = 0
        for row in range(first // row_width):
            rank += protected_at[row]
        for row in range(first // row_width, (last + row_width - 1) // row_width):
            if protected_at[row]:
                shift = (rank - row) * row_width
                for i in range(max(first, row * row_width), min(last, (row + 1) * row_width)):
                    y_at[i] = exact_at[i + shift]
                rank += 1


def decode(*coded: Any) -> Tensor:
    *kept, shape = coded
    y = torch.empty(shape)
    if y.numel():
        codes, protected, exact, *how = as_kernels_take(*kept)
        _decode(parts(y.numel()), codes, array(y), protected, exact, y.numel() // y.size(0), *how)
    return y


def as_kernels_take(
    scale: Tensor,
    zero_point: Tensor,
    qmin: int,
    qmax: int,
    codes: Tensor,
    protected: Tensor | None,
    exact: Tensor | None,
    relu: bool,
) -> tuple[Array, Array, Array, int, Any, Any]:
    """Arguments of the operator `decode`, as kernels take them: codes, which rows stayed exact (as bytes), these rows,
    width, grid and floor (see `unpack`)."""
    rows = optional(protected, NO_FLAGS).view(np.uint8), optional(exact, NO_FLOATS)
    grid = np.float32(qmin - zero_point.item()), np.float32(scale.item())
    return array(codes), *rows, width_of_codes(qmin, qmax), grid, np.float32(0) if relu else -INFINITY
