"""`Codes` in the form that kernels read, and the real numbers of a row's codes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from dqrun.kernels.cpu.launch import inner
from dqrun.kernels.cpu.structure import BYTES, FLOATS, INTEGER, Packed, Structure
from dqrun.kernels.cpu.task import advance
from dqrun.kernels.cpu.vector import F64x16, I32x16, U8x16, convert, lanes_below, load, store, where
from dqrun.kernels.integer.codes import SLACK, Codes
from dqrun.kernels.integer.row_grid import RowGrid

LANES = 16
UNPACKED = 2 * LANES  # bytes behind an unpacked row that may be written
KINDS = {"inside": 0, "integer": 1, "real": 2, "symmetric": 3}  # of offsets of rows with grids of their own
INSIDE, INTEGRAL, REAL_OFFSET, SYMMETRIC = KINDS.values()
NO_ROWS = -1

CODES = Structure(
    "Codes",
    data=BYTES,
    rows=INTEGER,
    channels=INTEGER,
    width=INTEGER,  # bytes of a row
    planes=INTEGER,  # codes in a byte; 0: there are no codes
    zero_point=INTEGER,
    numbers=FLOATS,  # scale and offset of each row that has a grid of its own
    kind=INTEGER,  # of their offsets; NO_ROWS: one grid for all rows
)


def codes_of(codes: Codes | None) -> Packed:
    """The structure for `Codes`; SLACK bytes after the last row can be read."""
    if codes is None:
        values = dict.fromkeys(("data", "rows", "channels", "width", "planes", "zero_point", "numbers"))
        return CODES.pack(**values, kind=NO_ROWS)
    return CODES.pack(
        data=_readable(codes),
        rows=codes.num_rows,
        channels=codes.channels,
        width=codes.data.size(1),
        planes=codes.grid.planes,
        zero_point=codes.grid.zero_point,
        numbers=codes.numbers,
        kind=KINDS[codes.grid.offset] if isinstance(codes.grid, RowGrid) else NO_ROWS,
    )


def _readable(codes: Codes) -> Any:
    data = codes.data
    behind = data.untyped_storage().nbytes() - data.storage_offset() - data.numel()
    if behind >= SLACK and data.is_contiguous():
        return data
    return Codes.empty(codes.num_rows, codes.channels, codes.grid).data.copy_(data)


def _unpacker(planes: int) -> Callable[..., None]:
    """The function that unpacks rows with `planes` codes in a byte."""
    size, mask = 8 // planes, (1 << (8 // planes)) - 1

    @inner
    def unpack(data: Any, start: int, width: int, out: Any, at: int) -> None:
        for plane in range(planes):  # in order: the next plane overwrites what a plane writes beyond its end
            for place in range(0, width, LANES):
                codes = load(U8x16, data, start + place)
                store(out, at + plane * width + place, (codes >> (plane * size)) & mask)

    return unpack


_unpack_2, _unpack_4, _unpack_8 = (_unpacker(planes) for planes in (2, 4, 8))


@inner
def unpack_row(codes: Any, row: int, out: Any, at: int) -> None:
    """The codes of a row, more than one of which share a byte, one in a byte to out[at..].

    Up to UNPACKED bytes more than there are channels are written.
    """
    start = row * codes.width
    if codes.planes == 2:
        _unpack_2(codes.data, start, codes.width, out, at)
    elif codes.planes == 4:
        _unpack_4(codes.data, start, codes.width, out, at)
    else:
        _unpack_8(codes.data, start, codes.width, out, at)


@inner
def opened(codes: Any, row: int, scratch: Any) -> tuple[Any, int]:
    """A row as `centred` reads it; scratch: UNPACKED bytes more than there are channels."""
    if codes.planes > 1:
        unpack_row(codes, row, scratch, 0)
        return scratch, codes.zero_point
    return advance(codes.data, row * codes.width), codes.zero_point


@inner
def centred(row: Any, channel: int) -> Any:
    """LANES codes of an `opened` row from a channel on, less their zero point, F64x16."""
    data, zero_point = row
    return convert(F64x16, convert(I32x16, load(U8x16, data, channel)) - zero_point)


@inner
def placed(code: Any, shift: int, left: int) -> Any:
    """I32x16 codes where those of a plane are in a byte; 0 in the lanes from `left` on, which belong to no channel."""
    if left < LANES:
        code = where(lanes_below(I32x16, left), code, 0)
    return code << shift


@inner
def step_and_lowest(codes: Any, row: int, step: float) -> tuple[float, float]:
    """The scale of a row and the number of its code 0; `step` and 0 if there is one grid for all rows."""
    if codes.kind == NO_ROWS:
        return step, 0.0
    scale, offset = np.float64(codes.numbers[2 * row]), np.float64(codes.numbers[2 * row + 1])
    return scale, offset if codes.kind == REAL_OFFSET else scale * offset
