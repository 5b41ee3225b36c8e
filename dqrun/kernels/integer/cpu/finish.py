"""The epilogue of a row of sums, in float64, operation by operation as `Epilogue` states it, LANES channels at a time.

What an epilogue leaves out enters as the value that changes nothing (a factor of 1, a term of 0, a floor of minus
infinity) where that is as fast as a branch.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from llvmlite import ir
from torch import Tensor

from dqrun.kernels.cpu.launch import Array, array, inner, optional
from dqrun.kernels.integer.codes import SLACK, Codes
from dqrun.kernels.integer.cpu.reals import finish_reals
from dqrun.kernels.integer.cpu.steps import BYTE_LANES, finish_steps
from dqrun.kernels.integer.cpu.vectors import I8, I64, LANES, Builder, Values, make
from dqrun.kernels.integer.epilogue import Epilogue

REALS, BYTES, NIBBLES = 0, 1, 2  # what comes out: float32, codes, or two codes in a byte
NO_DOUBLES, NO_REALS, NO_BYTES = np.empty(0, np.float64), np.empty(0, np.float32), np.empty(0, np.uint8)
# multiplier, bias, gain, offset (with LANES more than there are channels), row_scale, whether there is one, floor
# before the gain, floor after it, whether there is a gain, whether an ELU follows, whether values are in steps
Affine = tuple[Any, ...]
# residual codes, whether there are any, whether they are packed, zero point, what a step is worth
Residual = tuple[Any, ...]
# reals, bytes (one of them empty), what comes out, channels, bytes of a row, 1 / scale, zero point, largest code
Target = tuple[Any, ...]
How = tuple[Affine, Residual, Target]
# codes that are added to sums, where they begin, bytes of a row, shift, mask (0: none), zero point, weight
Own = tuple[Any, ...]
# a residual's, in the same order; what a step is worth
Beside = tuple[Any, ...]
# sums, where they begin, how far those of the next row are, first channel, number of channels
Sums = tuple[Any, ...]


def finish(epilogue: Epilogue, channels: int) -> tuple[Affine, Residual]:
    """An epilogue as kernels take it."""

    def vector(value: Tensor | None, absent: float) -> Array:
        value = torch.tensor([absent], dtype=torch.float64) if value is None else value
        return array(F.pad(value.expand(channels), (0, LANES)))

    e, r = epilogue.folded, epilogue.residual
    vectors = vector(e.multiplier, 1.0), vector(e.bias, 0.0), vector(e.gain, 1.0), vector(e.offset, 0.0)
    floors = (0.0 if e.pre_relu else -np.inf), (0.0 if e.activation == "relu" else -np.inf)
    flags = e.gain is not None, e.activation == "elu", epilogue.in_steps
    affine = (*vectors, optional(e.row_scale, NO_DOUBLES), e.row_scale is not None, *floors, *flags)
    if r is None:
        return affine, (NO_BYTES, False, False, 0, 1.0)
    return affine, (readable(r), True, r.grid.packed, r.grid.zero_point, epilogue.residual_step)


def readable(codes: Codes) -> Array:
    """Codes as a flat array behind which SLACK bytes can be read."""
    data = codes.data
    behind = data.untyped_storage().nbytes() - data.storage_offset() - data.numel()
    if behind < SLACK or not data.is_contiguous():
        copy = Codes.empty(codes.num_rows, codes.channels, codes.grid)
        data = copy.data.copy_(data)
    return array(data)


def target(epilogue: Epilogue, num_rows: int, channels: int) -> tuple[Codes | Tensor, Target]:
    """The result, to be filled in, and how kernels see it."""
    grid = epilogue.grid
    if grid is None:
        reals = torch.empty(num_rows, channels)
        return reals, (array(reals), NO_BYTES, REALS, channels, channels, 1.0, 0.0, 0.0)
    codes = Codes.empty(num_rows, channels, grid)
    kind, width = NIBBLES if grid.packed else BYTES, grid.row_bytes(channels)
    values = 1 / grid.scale, float(grid.zero_point), float(grid.top)
    return codes, (NO_REALS, array(codes.data), kind, channels, width, *values)


def _emit_pack(b: Builder) -> None:
    """Codes of rows two in a byte. Arguments: rows, codes, stride, channels, out, start, bytes of a row."""
    rows, codes, stride, channels, out, start, half = b.args
    odd = b.ir.icmp_signed("!=", b.ir.and_(channels, I64(1)), I64(0))

    def one_row(r: Any, _: Values) -> Values:
        at, begin = b.ir.mul(r, stride), b.ir.add(start, b.ir.mul(r, half))

        def nothing(_: Values) -> Values:  # is what an odd number of channels leaves in the last byte
            b.store(I8(0), codes, b.ir.add(at, channels))
            return []

        def step(index: Any, _: Values) -> Values:
            place = b.ir.mul(index, I64(LANES))
            low = b.load(codes, b.ir.add(at, place), BYTE_LANES)
            high = b.load(codes, b.ir.add(b.ir.add(at, half), place), BYTE_LANES)
            both = b.ir.or_(low, b.ir.shl(high, ir.Constant(BYTE_LANES, [4] * LANES)))
            b.store_some(both, out, b.ir.add(begin, place), b.ir.sub(half, place))
            return []

        b.when(odd, [], nothing)
        return b.loop(b.ir.ashr(b.ir.add(half, I64(LANES - 1)), I64(4)), [], step)

    b.loop(rows, [], one_row)


pack = make(_emit_pack)


@inner
def finish_rows(
    acc: Any, at: int, stride: int, row: int, rows: int, first: int, count: int, how: How, own: Own, codes: Any
) -> None:
    """The results of channels first..first + count of rows row..row + rows.

    All arrays are pointers. The sums of a row are acc[at..at + count], those of the next `stride` behind them; LANES
    more can be read. codes: scratch, uint8 [rows, stride] and LANES more, where results wait for `pack_rows`.
    """
    affine, (beside, has_residual, packed, zero, step), out = how
    channels, last = out[3], first + count
    half = (channels + 1) // 2
    width, mask = half if packed else channels, (15 if packed else 255) if has_residual else 0
    middle = min(max(half, first), last) if packed else last  # the low nibbles of a residual end there
    for piece in range(2):
        start, stop = (middle, last) if piece else (first, middle)
        if start < stop:
            residual = (beside, row * width + start - piece * half, width, 4 * piece, mask, zero, step)
            own_piece = (own[0], own[1] + start - first, own[2], own[3], own[4], own[5], own[6])
            sums = (acc, at + start - first, stride, start, stop - start)
            if affine[10]:  # in steps
                _finish_in_steps(sums, row, rows, affine, residual, own_piece, out, codes)
            else:
                for r in range(rows):
                    _finish_in_reals(sums, row + r, r, affine, residual, own_piece, out, codes)


@inner
def _finish_in_steps(
    sums: Sums, row: int, rows: int, affine: Affine, residual: Beside, own: Own, out: Target, codes: Any
) -> None:
    acc, at, stride, first, count = sums
    multiplier, bias, gain, offset, row_scale, has_scale, low, high, gained, _, _ = affine
    _, bytes_, kind, _, width, _, zero_point, top = out
    args = (acc, at, first, count, row, row_scale, has_scale, multiplier, bias, gain, offset, low, high)
    waits = kind == NIBBLES  # for `pack_rows`; one call for both cases, for each is compiled into every kernel
    results, place, width = (codes, first, stride) if waits else (bytes_, row * width + first, width)
    finish_steps((rows, stride, width, *args, *residual, *own, results, place, gained, zero_point, top))


@inner
def _finish_in_reals(
    sums: Sums, row: int, r: int, affine: Affine, residual: Beside, own: Own, out: Target, codes: Any
) -> None:
    """Of the r-th row, which is row `row` of the result."""
    acc, at, stride, first, count = sums
    multiplier, bias, gain, offset, row_scale, has_scale, low, high, gained, elu, _ = affine
    reals, bytes_, kind, _, width, inverse, zero_point, top = out
    args = (acc, at + r * stride, first, count, row, row_scale, has_scale, multiplier, bias, gain, offset)
    beside = (residual[0], residual[1] + r * residual[2], residual[3], residual[4], residual[5], residual[6])
    selves = (own[0], own[1] + r * own[2], own[3], own[4], own[5], own[6])
    waits = kind == NIBBLES
    results, place = (codes, r * stride + first) if waits else (bytes_, row * width + first)
    more = (low, high, gained, elu, *beside, *selves, reals, results, place, kind != REALS)
    finish_reals((*args, *more, inverse, zero_point, top))


@inner
def no_own(how: How) -> Own:
    """That sums don't get a row's own codes."""
    return (how[1][0], 0, 0, 0, 0, 0, 0.0)


@inner
def pack_rows(row: int, rows: int, stride: int, how: How, codes: Any) -> None:
    """Stores the codes of rows, from codes[0], codes[stride], ..., two in a byte, where that is what comes out."""
    _, bytes_, kind, channels, width, _, _, _ = how[2]
    if kind == NIBBLES:
        pack((rows, codes, stride, channels, bytes_, row * width, width))
