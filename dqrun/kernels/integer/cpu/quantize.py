"""`quantize`: from float32 to codes in one pass, in float32 as in training."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from dqrun.kernels.cpu.launch import inner, parts, share
from dqrun.kernels.cpu.structure import BYTES, FLOATS, INTEGER, REAL, Structure
from dqrun.kernels.cpu.task import advance, scratch_bytes, task, view
from dqrun.kernels.cpu.vector import F32x16, load_first, store_first
from dqrun.kernels.integer.codes import CodeGrid, Codes, Grid
from dqrun.kernels.integer.cpu.encode import ENDS, MOST_ROWS, RULE, encode, encode_rows, pack_rows, rule_of
from dqrun.kernels.integer.cpu.rows_of_codes import LANES

QUANTIZE = Structure(
    "Quantize",
    x=FLOATS,
    rows=INTEGER,
    channels=INTEGER,
    codes=BYTES,
    width=INTEGER,  # bytes of a row of codes
    packed=INTEGER,  # whether two codes share a byte
    inverse=REAL,  # of the scale,
    zero_point=REAL,
    top=REAL,  # and the largest code, of one grid for all rows
    rule=RULE,  # of rows that get grids of their own
    numbers=FLOATS,
    scratch=BYTES,
    between=INTEGER,  # bytes of scratch of a part
)


@inner
def _encode_some(a: Any, start: int, count: int, codes: Any, at: int) -> None:
    """The codes of x[start..start + count] to codes[at..]."""
    inverse, zero, top = np.float32(a.inverse), np.float32(a.zero_point), np.float32(a.top)
    for place in range(0, count, LANES):
        v = load_first(F32x16, a.x, start + place, count - place)
        store_first(codes, at + place, encode(v, inverse, zero, top), count - place)


@task(QUANTIZE)
def _quantize(part: int, num_parts: int, a: Any) -> None:
    first, last = share(part, num_parts, a.rows)
    codes = advance(a.scratch, part * a.between)
    if a.packed:
        for row in range(first, last):
            _encode_some(a, row * a.channels, a.channels, codes, 0)
            pack_rows(codes, 0, a.channels, 1, advance(a.codes, row * a.width))
    else:
        _encode_some(a, first * a.channels, (last - first) * a.channels, a.codes, first * a.channels)


@task(QUANTIZE)
def _quantize_rows(part: int, num_parts: int, a: Any) -> None:
    first, last = share(part, num_parts, a.rows)
    ends = view(F32x16, advance(a.scratch, part * a.between))
    waiting = advance(a.scratch, part * a.between + 4 * ENDS)
    stride = a.channels + LANES if a.packed else a.channels
    for row in range(first, last, MOST_ROWS):
        rows, start, out = min(MOST_ROWS, last - row), row * a.channels, advance(a.codes, row * a.width)
        codes = waiting if a.packed else out
        encode_rows(a.x, start, a.channels, a.channels, rows, a.rule, ends, advance(a.numbers, 2 * row), codes, stride)
        if a.packed:
            pack_rows(codes, stride, a.channels, rows, out)


def quantize(x: Tensor, grid: Grid) -> Codes:
    codes = Codes.empty(x.size(0), x.size(1), grid)
    if x.numel():
        num_parts = parts(x.numel())
        scratch, between = scratch_bytes(num_parts, 4 * ENDS + MOST_ROWS * (x.size(1) + 2 * LANES))
        arguments = QUANTIZE.pack(
            x=x.detach().contiguous(),
            rows=x.size(0),
            channels=x.size(1),
            codes=codes.data,
            width=codes.data.size(1),
            packed=grid.packed,
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
