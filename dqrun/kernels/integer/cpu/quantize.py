"""`quantize`: converts float32 numbers to codes in one pass, in float32 as in training."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from dqrun.kernels.cpu.launch import parts, share
from dqrun.kernels.cpu.structure import BYTES, FLOATS, INTEGER, REAL, Structure
from dqrun.kernels.cpu.task import advance, scratch_bytes, task, view
from dqrun.kernels.cpu.vector import F32x16
from dqrun.kernels.integer.codes import CodeGrid, Codes, Grid
from dqrun.kernels.integer.cpu.encode import ENDS, MOST_ROWS, RULE, encode_row, encode_rows, rule_of

QUANTIZE = Structure(
    "Quantize",
    x=FLOATS,
    rows=INTEGER,
    channels=INTEGER,
    codes=BYTES,
    width=INTEGER,  # bytes of a row of codes
    planes=INTEGER,  # codes in a byte
    inverse=REAL,  # of the scale,
    zero_point=REAL,
    top=REAL,  # and the largest code, of one grid for all rows
    rule=RULE,  # of rows that get grids of their own
    numbers=FLOATS,
    scratch=BYTES,
    between=INTEGER,  # bytes of scratch of a part
)


@task(QUANTIZE)
def _quantize(part: int, num_parts: int, a: Any) -> None:
    first, last = share(part, num_parts, a.rows)
    factors = (np.float32(0), np.float32(a.inverse), np.float32(a.zero_point), np.float32(a.top))
    if a.planes == 1:
        encode_row(a.x, first * a.channels, (last - first) * a.channels, factors, a.codes, first * a.channels, 1)
    else:
        for row in range(first, last):
            encode_row(a.x, row * a.channels, a.channels, factors, a.codes, row * a.width, a.planes)


@task(QUANTIZE)
def _quantize_rows(part: int, num_parts: int, a: Any) -> None:
    first, last = share(part, num_parts, a.rows)
    ends = view(F32x16, advance(a.scratch, part * a.between))
    for row in range(first, last, MOST_ROWS):
        rows, start = min(MOST_ROWS, last - row), row * a.channels
        numbers, codes = advance(a.numbers, 2 * row), advance(a.codes, row * a.width)
        encode_rows(a.x, start, a.channels, a.channels, rows, a.rule, ends, numbers, codes, a.planes)


def quantize(x: Tensor, grid: Grid) -> Codes:
    codes = Codes.empty(x.size(0), x.size(1), grid)
    if x.numel():
        num_parts = parts(x.numel())
        scratch, between = scratch_bytes(num_parts, 4 * ENDS)
        arguments = QUANTIZE.pack(
            x=x.detach().contiguous(),
            rows=x.size(0),
            channels=x.size(1),
            codes=codes.data,
            width=codes.data.size(1),
            planes=grid.planes,
            inverse=np.float32(1) / np.float32(grid.scale) if isinstance(grid, CodeGrid) else 1.0,
            zero_point=grid.zero_point,
            top=grid.top,
            rule=rule_of(grid),
            numbers=codes.numbers,
            scratch=scratch,
            between=between,
        )
        (_quantize if isinstance(grid, CodeGrid) else _quantize_rows).run(num_parts, arguments)
    return codes
