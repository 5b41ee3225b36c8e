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
from dqrun.kernels.integer.codes import SLACK, CodeGrid, Codes
from dqrun.kernels.integer.cpu.reals import finish_reals
from dqrun.kernels.integer.cpu.row_codes import KINDS, NO_ROWS, NO_RULE, REAL, encode_rows, rule_of
from dqrun.kernels.integer.cpu.row_values import finish_row_values
from dqrun.kernels.integer.cpu.steps import BYTE_LANES, finish_steps
from dqrun.kernels.integer.cpu.vectors import I8, I64, LANES, Builder, Values, make
from dqrun.kernels.integer.epilogue import Epilogue
from dqrun.kernels.integer.row_grid import RowGrid

REALS, BYTES, NIBBLES = 0, 1, 2  # what comes out: float32, codes, or two codes in a byte;
ROW_BYTES, ROW_NIBBLES = 3, 4  # the same of rows that have grids of their own
NO_DOUBLES, NO_REALS, NO_BYTES = np.empty(0, np.float64), np.empty(0, np.float32), np.empty(0, np.uint8)
# multiplier, bias, gain, offset (with LANES more than there are channels), row_scale, whether there is one, floor
# before the gain, floor after it, whether there is a gain, whether an ELU follows, whether values are in steps, a term
# of each row and the factor of each channel (with LANES more) that it has, whether there are any
Affine = tuple[Any, ...]
# residual codes, whether there are any, whether they are packed, zero point, what a step is worth, numbers of rows
# that have grids of their own (`RowGrid`), what kind of offset these have (NO_ROWS: there are none)
Residual = tuple[Any, ...]
# reals, bytes (one of them empty), what comes out, channels, bytes of a row, 1 / scale, zero point, largest code;
# numbers of rows that have grids of their own, and their `row_codes.Rule`
Target = tuple[Any, ...]
How = tuple[Affine, Residual, Target]
# codes that are added to sums, where they begin, bytes of a row, shift, mask (0: none), zero point, weight, numbers of
# rows, their kind of offset
Own = tuple[Any, ...]
# a residual's, in the same order; what a step is worth in place of the weight
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
    terms = optional(e.row_term, NO_DOUBLES), vector(e.channel_term, 0.0), e.row_term is not None
    affine = (*vectors, optional(e.row_scale, NO_DOUBLES), e.row_scale is not None, *floors, *flags, *terms)
    if r is None:
        return affine, (NO_BYTES, False, False, 0, 1.0, NO_REALS, NO_ROWS)
    own = readable(r), True, r.grid.packed, r.grid.zero_point, epilogue.residual_step
    return affine, (*own, *numbers_of(r))


def numbers_of(codes: Codes) -> tuple[Array, int]:
    """The numbers of rows with grids of their own, and their kind of offset; of no rows, and NO_ROWS."""
    if codes.numbers is None or not isinstance(codes.grid, RowGrid):
        return NO_REALS, NO_ROWS
    return array(codes.numbers), KINDS[codes.grid.offset]


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
        return reals, (array(reals), NO_BYTES, REALS, channels, channels, 1.0, 0.0, 0.0, NO_REALS, NO_RULE)
    codes = Codes.empty(num_rows, channels, grid)
    kind, width = NIBBLES if grid.packed else BYTES, grid.row_bytes(channels)
    if codes.numbers is not None and isinstance(grid, RowGrid):
        values, numbers, rule = (1.0, 0.0, 0.0), array(codes.numbers), rule_of(grid)
        return codes, (NO_REALS, array(codes.data), ROW_BYTES - BYTES + kind, channels, width, *values, numbers, rule)
    assert isinstance(grid, CodeGrid)
    values = 1 / grid.scale, float(grid.zero_point), float(grid.top)
    return codes, (NO_REALS, array(codes.data), kind, channels, width, *values, NO_REALS, NO_RULE)


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
    acc: Any, at: int, stride: int, row: int, rows: int, first: int, count: int, how: How, own: Own, waiting: Any
) -> None:
    """The results of channels first..first + count of rows row..row + rows.

    All arrays are pointers. The sums of a row are acc[at..at + count], those of the next `stride` behind them; LANES
    more can be read. waiting: scratch, uint8 and float32 [rows, stride] and LANES more, where results wait for
    `store_rows`, and float32 [3 * MOST_ROWS].
    """
    affine, (beside, has_residual, packed, zero, step, numbers, kind), out = how
    channels, last = out[3], first + count
    half = (channels + 1) // 2
    width, mask = half if packed else channels, (15 if packed else 255) if has_residual else 0
    middle = min(max(half, first), last) if packed else last  # the low nibbles of a residual end there
    for piece in range(2):
        start, stop = (middle, last) if piece else (first, middle)
        if start < stop:
            residual = (beside, row * width + start - piece * half, width, 4 * piece, mask, zero, step, numbers, kind)
            own_piece = (own[0], own[1] + start - first, own[2], own[3], own[4], own[5], own[6], own[7], own[8])
            sums = (acc, at + start - first, stride, start, stop - start)
            if out[2] >= ROW_BYTES and _is_simple(affine, has_residual, own_piece):
                _finish_row_values(sums, row, rows, affine, own_piece, waiting[1])
            elif affine[10]:  # in steps
                _finish_in_steps(sums, row, rows, affine, residual, own_piece, out, waiting[0])
            else:
                for r in range(rows):
                    _finish_in_reals(sums, row + r, r, affine, residual, own_piece, out, waiting)


@inner
def _is_simple(affine: Affine, has_residual: bool, own: Own) -> bool:
    """Whether rows that get grids of their own are a case of `row_values`."""
    has_scale, gained, elu, has_term = affine[5], affine[8], affine[9], affine[13]
    return not (gained or elu or has_residual or (own[4] != 0 and (has_scale or has_term)))


@inner
def _finish_row_values(sums: Sums, row: int, rows: int, affine: Affine, own: Own, reals: Any) -> None:
    acc, at, stride, first, count = sums
    multiplier, bias, _, _, row_scale, has_scale, low, high, _, _, _, row_term, terms, has_term = affine
    args = (rows, stride, acc, at, first, count, row, row_scale, has_scale, row_term, terms, has_term, multiplier, bias)
    selves = (own[0], own[1], own[2], own[3], own[4], own[5], own[6], own[7], own[8])
    finish_row_values((*args, low, high, *selves, reals))


@inner
def _finish_in_steps(
    sums: Sums, row: int, rows: int, affine: Affine, residual: Beside, own: Own, out: Target, codes: Any
) -> None:
    acc, at, stride, first, count = sums
    multiplier, bias, gain, offset, row_scale, has_scale, low, high, gained, _, _, _, _, _ = affine
    _, bytes_, kind, _, width, _, zero_point, top, _, _ = out
    args = (acc, at, first, count, row, row_scale, has_scale, multiplier, bias, gain, offset, low, high)
    waits = kind == NIBBLES  # for `pack_rows`; one call for both cases, for each is compiled into every kernel
    results, place, width = (codes, first, stride) if waits else (bytes_, row * width + first, width)
    beside = (residual[0], residual[1], residual[2], residual[3], residual[4], residual[5], residual[6])
    selves = (own[0], own[1], own[2], own[3], own[4], own[5], own[6])
    finish_steps((rows, stride, width, *args, *beside, *selves, results, place, gained, zero_point, top))


@inner
def row_values(numbers: Any, kind: int, row: int, step: float) -> tuple[float, float]:
    """What a step of a row is worth, and what its code 0 stands for; `step` and 0 where rows have no own grids."""
    if kind == NO_ROWS:
        return step, 0.0
    scale, offset = np.float64(numbers[2 * row]), np.float64(numbers[2 * row + 1])
    return scale, offset if kind == REAL else scale * offset


@inner
def _finish_in_reals(
    sums: Sums, row: int, r: int, affine: Affine, residual: Beside, own: Own, out: Target, waiting: Any
) -> None:
    """Of the r-th row, which is row `row` of the result."""
    acc, at, stride, first, count = sums
    multiplier, bias, gain, offset, row_scale, has_scale, low, high, gained, elu, _, row_term, terms, has_term = affine
    reals, bytes_, kind, _, width, inverse, zero_point, top, _, _ = out
    args = (acc, at + r * stride, first, count, row, row_scale, has_scale, row_term, terms, has_term)
    vectors = (multiplier, bias, gain, offset, low, high, gained, elu)
    beside = (residual[0], residual[1] + r * residual[2], residual[3], residual[4], residual[5])
    selves = (own[0], own[1] + r * own[2], own[3], own[4], own[5], own[6])
    besides, own_values = row_values(residual[7], residual[8], row, residual[6]), row_values(own[7], own[8], row, 1.0)
    waits = kind == NIBBLES or kind >= ROW_BYTES
    place = r * stride + first if waits else row * width + first
    results, floats = waiting[0] if waits else bytes_, waiting[1] if waits else reals
    more = (*beside, *besides, *selves, *own_values, floats, results, place, kind in (BYTES, NIBBLES))
    finish_reals((*args, *vectors, *more, inverse, zero_point, top))


@inner
def no_own(how: How) -> Own:
    """That sums don't get a row's own codes."""
    return (how[1][0], 0, 0, 0, 0, 0, 0.0, how[1][5], NO_ROWS)


@inner
def store_rows(row: int, rows: int, stride: int, how: How, waiting: Any) -> None:
    """Stores what waits of rows, from waiting[0], waiting[stride], ..., where there is more to do than is done.

    Codes are packed two in a byte; rows with grids of their own are rounded to these.
    """
    _, bytes_, kind, channels, width, _, _, _, numbers, rule = how[2]
    codes, floats, ends = waiting
    if kind >= ROW_BYTES:
        waits = kind == ROW_NIBBLES
        at, between, found = (0, stride, codes) if waits else (row * width, width, bytes_)
        encode_rows(floats, 0, rows, stride, channels, ends, rule, numbers, row, found, at, between)
    if kind in (NIBBLES, ROW_NIBBLES):
        pack((rows, codes, stride, channels, bytes_, row * width, width))
