"""`Codes` as kernels read them, and what the codes of a row stand for."""

from __future__ import annotations

from typing import Any

import numpy as np

from dqrun.kernels.cpu.launch import inner
from dqrun.kernels.cpu.structure import BYTES, FLOATS, INTEGER, Packed, Structure
from dqrun.kernels.cpu.task import advance
from dqrun.kernels.cpu.vector import F64x16, I32x16, U8x16, convert, load
from dqrun.kernels.integer.codes import SLACK, Codes
from dqrun.kernels.integer.row_grid import RowGrid

LANES = 16
KINDS = {"inside": 0, "integer": 1, "real": 2, "symmetric": 3}  # of offsets of rows with grids of their own
INSIDE, INTEGRAL, REAL_OFFSET, SYMMETRIC = KINDS.values()
NO_ROWS = -1

CODES = Structure(
    "Codes",
    data=BYTES,
    rows=INTEGER,
    channels=INTEGER,
    width=INTEGER,  # bytes of a row
    packed=INTEGER,  # whether two codes share a byte
    mask=INTEGER,  # of the bits of a code; 0: there are no codes
    zero_point=INTEGER,
    numbers=FLOATS,  # scale and offset of each row that has a grid of its own
    kind=INTEGER,  # of their offsets; NO_ROWS: one grid for all rows
)


def codes_of(codes: Codes | None) -> Packed:
    """Behind their last row SLACK bytes can be read."""
    if codes is None:
        values = dict.fromkeys(("data", "rows", "channels", "width", "packed", "mask", "zero_point", "numbers"))
        return CODES.pack(**values, kind=NO_ROWS)
    return CODES.pack(
        data=_readable(codes),
        rows=codes.num_rows,
        channels=codes.channels,
        width=codes.data.size(1),
        packed=codes.grid.packed,
        mask=15 if codes.grid.packed else 255,
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


@inner
def opened(codes: Any, row: int, half: int) -> tuple[Any, int, int, int]:
    """A row as `centred` reads it, found once for all its channels.

    half: 0, or the number of channels of the first half, if channels of the second half are read and codes may be
    packed.
    """
    start = row * codes.width - (half if codes.packed else 0)
    shift = 4 if half and codes.packed else 0
    return advance(codes.data, start), shift, codes.mask, codes.zero_point


@inner
def centred(row: Any, channel: int) -> Any:
    """LANES codes of an `opened` row from a channel on, less their zero point, F64x16."""
    data, shift, mask, zero_point = row
    words = convert(I32x16, load(U8x16, data, channel))
    return convert(F64x16, ((words >> shift) & mask) - zero_point)


@inner
def step_and_lowest(codes: Any, row: int, step: float) -> tuple[float, float]:
    """What a step of a row is worth, and what its code 0 stands for; `step` and 0 where rows have no own grids."""
    if codes.kind == NO_ROWS:
        return step, 0.0
    scale, offset = np.float64(codes.numbers[2 * row]), np.float64(codes.numbers[2 * row + 1])
    return scale, offset if codes.kind == REAL_OFFSET else scale * offset
