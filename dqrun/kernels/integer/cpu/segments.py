"""`segment_reduce`: readout over codes. Sums and means are `aggregate`'s sums, over rows in their own order."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange
from torch import Tensor

from dqrun.kernels.cpu.launch import Array, array, first_at_least, inner, kernel, parts, share
from dqrun.kernels.integer.codes import Codes
from dqrun.kernels.integer.cpu.aggregate import MEAN, PLAIN, sum_rows
from dqrun.kernels.integer.cpu.finish import (
    Affine,
    Residual,
    Target,
    finish,
    finish_rows,
    no_own,
    numbers_of,
    readable,
    row_values,
    store_rows,
    target,
)
from dqrun.kernels.integer.cpu.row_codes import MOST_ROWS
from dqrun.kernels.integer.cpu.steps import DOUBLES, centred, largest
from dqrun.kernels.integer.cpu.vectors import I64, LANES, Builder, Values, hold, make, pointers
from dqrun.kernels.integer.epilogue import Epilogue

# codes, bytes of a row, channels, whether packed, zero point, numbers of rows with grids of their own, their kind
Source = tuple[Any, ...]


def _emit_largest(b: Builder) -> None:
    """acc[at + c] = max(itself, (code - zero point) * scale + lowest), float64, of low or high nibbles or bytes,
    rounded up to LANES.

    Arguments: acc, at, x, start, count, shift, mask, zero point, scale, lowest.
    """
    acc, at, x, start, count, *how, scale, lowest = b.args
    scales, lows = (b.splat(value, LANES) for value in (scale, lowest))

    def step(index: Any, _: Values) -> Values:
        place = b.ir.mul(index, I64(LANES))
        where = b.ir.add(at, place)
        steps = centred(b, x, b.ir.add(start, place), *how)
        b.store(largest(b, b.ir.fadd(b.ir.fmul(steps, scales), lows), b.load(acc, where, DOUBLES)), acc, where)
        return []

    b.loop(b.ir.ashr(b.ir.add(count, I64(LANES - 1)), I64(4)), [], step)


_largest = make(_emit_largest)


@inner
def _add_row(acc: Any, row: int, x: Source) -> None:
    """The low and the high half are kept LANES apart: whole vectors reach behind the low one."""
    codes, width, channels, packed, zero_point, numbers, kind = x
    scale, lowest = row_values(numbers, kind, row, 1.0)
    _largest((acc, 0, codes, row * width, width, 0, 15 if packed else 255, zero_point, scale, lowest))
    if packed:
        _largest((acc, width + LANES, codes, row * width, channels - width, 4, 15, zero_point, scale, lowest))


@inner
def _finish_segment(acc: Any, segment: int, x: Source, how: Any, waiting: Any) -> None:
    _, width, channels, _, _, _, _ = x
    finish_rows(acc, 0, 0, segment, 1, 0, width, how, no_own(how), waiting)
    if width < channels:
        finish_rows(acc, width + LANES, 0, segment, 1, width, channels - width, how, no_own(how), waiting)
    store_rows(segment, 1, 0, how, waiting)


@kernel
def _max(ptr: Array, x: Source, affine: Affine, residual: Residual, out: Target, num_parts: int) -> None:
    """Each part takes the segments that start in its share of the rows."""
    num_segments = ptr.size - 1
    for part in prange(num_parts):
        first, last = share(part, num_parts, ptr[num_segments])
        begin = first_at_least(ptr[:num_segments], first)
        end = first_at_least(ptr[:num_segments], last) if part < num_parts - 1 else num_segments
        acc, results = np.empty(x[2] + 3 * LANES, np.float64), np.empty(x[2] + 2 * LANES, np.uint8)
        reals = np.empty(x[2] + 2 * LANES, np.float32)
        ends = np.empty(3 * MOST_ROWS, np.float32)
        (acc_at,), waiting, x_at = pointers((acc,)), pointers((results, reals, ends)), pointers(x)
        how = (pointers(affine), pointers(residual), pointers(out))
        for segment in range(begin, end):
            acc[:] = -np.inf if ptr[segment] < ptr[segment + 1] else 0.0
            for row in range(ptr[segment], ptr[segment + 1]):
                _add_row(acc_at, row, x_at)
            _finish_segment(acc_at, segment, x_at, how, waiting)
        hold((acc, results, reals, ends))


def segment_reduce(x: Codes, ptr: Tensor, mode: str, epilogue: Epilogue) -> Codes | Tensor:
    if mode != "max":
        return sum_rows(ptr, None, x, PLAIN if mode == "sum" else MEAN, 0.0, epilogue)
    num_segments, width = ptr.numel() - 1, x.data.size(1)
    result, out = target(epilogue, num_segments, x.channels)
    if num_segments and x.channels:
        source = readable(x), width, x.channels, x.grid.packed, x.grid.zero_point, *numbers_of(x)
        how, num_parts = finish(epilogue, x.channels), parts(x.data.numel())
        _max(array(ptr), source, *how, out, num_parts)
    return result
