"""The computation after sums (`Epilogue`), compiled once for int32 and once for float64 sums, for all kernels.

A kernel calls `call(e.finish, (e, sums, row, rows, scratch))`, e an `EPILOGUE`, when the sums of up to MOST_ROWS rows
are in the cache. The sums of row r begin at r * e.stride, in the order of channels; BEHIND more numbers can be read.
Channels are processed in the order in which results are stored: LANES bytes at a time, and for these each plane.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from dqrun.kernels.cpu.launch import inner
from dqrun.kernels.cpu.routine import Routine, routine
from dqrun.kernels.cpu.structure import BYTES, DOUBLES, FLOATS, INTEGER, REAL, WORDS, Structure
from dqrun.kernels.cpu.task import advance, view
from dqrun.kernels.cpu.vector import (
    F32x16,
    F64x16,
    I32x16,
    I64x16,
    U8x16,
    cast_bits,
    convert,
    load,
    maximum,
    minimum,
    nearest,
    rint,
    splat,
    store_first,
    where,
)
from dqrun.kernels.integer.cpu.encode import ENDS, MOST_ROWS, RULE, encode_rows
from dqrun.kernels.integer.cpu.rows_of_codes import (
    CODES,
    LANES,
    NO_ROWS,
    UNPACKED,
    centred,
    opened,
    placed,
    step_and_lowest,
)
from dqrun.kernels.integer.reference import EXP_TERMS, LN2_HIGH, LN2_LOW, LOG2_E, LOWEST_EXPONENT

BEHIND = 2 * LANES  # numbers after the sums of a row that may be read
PLAIN, SCALE, OWN, GAIN, TERM, ALL = range(6)  # operations beside factor and bias: none, one (TERM: a term and a scale
# of rows), or any

EPILOGUE = Structure(
    "Epilogue",
    finish=INTEGER,  # the address of the routine
    channels=INTEGER,
    stride=INTEGER,
    has=INTEGER,  # PLAIN .. ALL
    multiplier=DOUBLES,
    bias=DOUBLES,
    gain=DOUBLES,
    offset=DOUBLES,
    channel_term=DOUBLES,  # as the four before: a number per channel, padded by BEHIND
    row_scale=DOUBLES,
    row_term=DOUBLES,
    has_scale=INTEGER,
    has_gain=INTEGER,
    has_term=INTEGER,
    has_elu=INTEGER,
    low=REAL,  # lower limit before the gain; `high`: lower limit after it
    high=REAL,
    own=CODES,  # the row's own codes, which are added to its sums times own_weight
    own_weight=REAL,
    residual=CODES,
    residual_step=REAL,
    reals=FLOATS,  # results as real numbers,
    codes=BYTES,  # or results as codes
    planes=INTEGER,  # codes in a byte, or 1
    width=INTEGER,  # bytes of a row of codes, or real numbers of a row
    coded=INTEGER,  # whether results are codes with one grid for all rows
    inverse=REAL,  # 1 / scale of the codes
    zero_point=REAL,
    top=REAL,  # the largest code
    floor=INTEGER,  # the smallest code minus the zero point
    rule=RULE,  # for results with a grid for each row
    numbers=FLOATS,
)


@inner
def _elu(v: Any) -> Any:
    """v, or `reference.exp(v)` - 1 if v is negative."""
    below = maximum(minimum(v, 0.0), LOWEST_EXPONENT)
    n = rint(below * LOG2_E)
    r = (below - n * LN2_HIGH) - n * LN2_LOW
    p = splat(F64x16, EXP_TERMS[0])
    for term in EXP_TERMS[1:]:
        p = p * r + term
    power = cast_bits(F64x16, (convert(I64x16, n) + 1023) << 52)
    return where(v > 0.0, v, p * power - 1.0)


def _values(kind: Any, has: int, in_steps: bool) -> Callable[..., Any]:
    """The function from LANES sums to values, line by line as in `Epilogue`; `has`: the operations that it includes.

    For values in steps a ReLU at the end is a part of the clamp.
    """
    own, gain, term, everything = (has in (each, ALL) for each in (OWN, GAIN, TERM, ALL))
    scaled = term or has == SCALE

    @inner
    def values(e: Any, sums: Any, at: int, channel: int, factors: Any, rows: Any) -> Any:
        scale, row_term, (own_step, own_low), (step, lowest) = factors
        own_row, residual_row = rows
        v = convert(F64x16, load(kind, sums, at))
        if own and (not everything or e.own.planes != 0):
            mine = centred(own_row, channel)
            v = v + (mine if in_steps else mine * own_step + own_low) * e.own_weight
        if scaled:
            v = v * scale
        if term and e.has_term:
            v = v + load(F64x16, e.channel_term, channel) * row_term
        v = v * load(F64x16, e.multiplier, channel) + load(F64x16, e.bias, channel)
        if gain or not in_steps:
            v = maximum(v, e.low)
        if gain and e.has_gain:
            v = v * load(F64x16, e.gain, channel) + load(F64x16, e.offset, channel)
        if everything:
            v = maximum(v, e.high)
            if e.has_elu:
                v = _elu(v)
            if e.residual.planes != 0:
                v = v + (centred(residual_row, channel) * step + lowest)
        return v

    return values


def _loop(kind: Any, has: int, in_steps: bool) -> Callable[..., None]:
    """The loop over rows and channels with the operations `has`."""
    values, may_be_coded = _values(kind, has, in_steps), in_steps or has == ALL
    grid_of, code_of = (_grid_of_steps, _code_of_steps) if in_steps else (_grid_of_reals, _code_of_reals)

    @inner
    def loop(e: Any, sums: Any, row: int, rows: int, scratch: Any) -> None:
        coded, beside = may_be_coded and e.coded != 0, advance(scratch, e.channels + UNPACKED)
        planes, grid = e.planes if coded else 1, grid_of(e)
        size = 8 // planes  # bits of a code
        for r in range(rows):
            scale = e.row_scale[row + r] if e.has_scale else 1.0
            term = e.row_term[row + r] if e.has_term else 0.0
            own, residual = step_and_lowest(e.own, row + r, 1.0), (1.0, 0.0)
            if e.residual.planes != 0:
                residual = step_and_lowest(e.residual, row + r, e.residual_step)
            factors = (scale, term, own, residual)
            read = (opened(e.own, row + r, scratch), opened(e.residual, row + r, beside))
            codes, reals = _results(e, row, r, scratch)
            if planes == 1:
                for channel in range(0, e.channels, LANES):
                    v = values(e, sums, r * e.stride + channel, channel, factors, read)
                    if coded:
                        store_first(codes, channel, convert(U8x16, code_of(grid, v)), e.channels - channel)
                    else:
                        store_first(reals, channel, convert(F32x16, v), e.channels - channel)
                continue
            for place in range(0, e.width, LANES):
                byte = splat(I32x16, 0)
                for plane in range(planes):
                    channel = plane * e.width + place
                    v = values(e, sums, r * e.stride + channel, channel, factors, read)
                    byte = byte | placed(code_of(grid, v), plane * size, e.channels - channel)
                store_first(codes, place, convert(U8x16, byte), e.width - place)

    return loop


@inner
def _results(e: Any, row: int, r: int, scratch: Any) -> tuple[Any, Any]:
    """The positions of the r-th row's codes and of its real numbers; the caller uses one of them.

    Real numbers that will be encoded with a grid for each row are first stored in the scratch memory.
    """
    codes = advance(e.codes, (row + r) * e.width)
    if e.rule.kind != NO_ROWS:
        return codes, advance(view(F32x16, advance(scratch, reals_at(e.channels))), r * e.stride)
    return codes, advance(e.reals, (row + r) * e.channels)


@inner
def _grid_of_steps(e: Any) -> tuple[float, int, int]:
    """The numbers of the grid that `_code_of_steps` needs.

    They are read before the loops: inside the loops they would be in a branch and be read again each time.
    """
    return e.top - e.zero_point, e.floor, int(e.zero_point)


@inner
def _code_of_steps(grid: Any, v: Any) -> Any:
    """Values in steps of the grid: clamped from above as float64, so that all fit, from below as int32."""
    highest, floor, zero_point = grid
    return maximum(nearest(minimum(v, highest)), floor) + zero_point


@inner
def _grid_of_reals(e: Any) -> tuple[float, float, float]:
    return e.inverse, e.zero_point, e.top


@inner
def _code_of_reals(grid: Any, v: Any) -> Any:
    """The codes of real numbers on one grid."""
    inverse, zero_point, top = grid
    return convert(I32x16, minimum(maximum(rint(v * inverse) + zero_point, 0.0), top))


def _reals_at(channels: int) -> int:
    """Offset of real numbers in the scratch memory, after unpacked rows; a multiple of cache lines."""
    return (2 * (channels + UNPACKED) + 63) // 64 * 64


reals_at = inner(_reals_at)


def scratch_size(channels: int, stride: int) -> int:
    """Bytes of scratch memory of a part: unpacked rows, real numbers and what `encode_rows` needs."""
    return _reals_at(channels) + 4 * (MOST_ROWS * stride + 2 * LANES + ENDS)


@inner
def _encode(e: Any, row: int, rows: int, scratch: Any) -> None:
    reals = view(F32x16, advance(scratch, reals_at(e.channels)))
    ends, numbers = advance(reals, MOST_ROWS * e.stride + 2 * LANES), advance(e.numbers, 2 * row)
    codes = advance(e.codes, row * e.width)
    encode_rows(reals, 0, e.stride, e.channels, rows, e.rule, ends, numbers, codes, e.planes)


def _routine(sums_kind: Any, kind: Any, in_steps: bool) -> Routine:
    plain, scale, own, gain, term, everything = (_loop(kind, has, in_steps) for has in range(ALL + 1))

    @routine(EPILOGUE, sums_kind, INTEGER, INTEGER, BYTES)
    def finish(e: Any, sums: Any, row: int, rows: int, scratch: Any) -> None:
        if e.has == PLAIN:
            plain(e, sums, row, rows, scratch)
        elif e.has == SCALE:
            scale(e, sums, row, rows, scratch)
        elif e.has == OWN:
            own(e, sums, row, rows, scratch)
        elif e.has == GAIN:
            gain(e, sums, row, rows, scratch)
        elif e.has == TERM:
            if not in_steps:
                term(e, sums, row, rows, scratch)
        else:
            everything(e, sums, row, rows, scratch)
        if not in_steps and e.rule.kind != NO_ROWS:
            _encode(e, row, rows, scratch)

    return finish


def _both(in_steps: bool) -> dict[Any, Routine]:
    return {np.int32: _routine(WORDS, I32x16, in_steps), np.float64: _routine(DOUBLES, F64x16, in_steps)}


ROUTINES = {in_steps: _both(in_steps) for in_steps in (True, False)}
"""By whether values are in steps of a grid, and the type of sums."""
