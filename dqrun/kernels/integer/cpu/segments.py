"""`segment_reduce`: readout over codes. Sums and means use the sums of `aggregate`, over rows in their own order."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from dqrun.kernels.cpu.launch import first_place, inner, parts, share
from dqrun.kernels.cpu.routine import call
from dqrun.kernels.cpu.structure import BYTES, INTEGER, INTEGERS, Structure
from dqrun.kernels.cpu.task import advance, scratch_bytes, task, view
from dqrun.kernels.cpu.vector import F64x16, load, maximum, splat, store
from dqrun.kernels.integer.codes import Codes
from dqrun.kernels.integer.cpu.aggregate import MEAN, PLAIN, sum_rows
from dqrun.kernels.integer.cpu.epilogues import Sums, finish_of
from dqrun.kernels.integer.cpu.finishing import BEHIND, EPILOGUE
from dqrun.kernels.integer.cpu.rows_of_codes import CODES, LANES, centred, codes_of, opened, step_and_lowest
from dqrun.kernels.integer.epilogue import Epilogue

MAX = Structure(
    "Max",
    x=CODES,
    ptr=INTEGERS,  # the first row of each segment
    segments=INTEGER,
    epilogue=EPILOGUE,
    scratch=BYTES,
    between=INTEGER,  # bytes of scratch of a part
)


@inner
def _raise_to(a: Any, row: int, acc: Any, scratch: Any) -> None:
    """acc = max(acc, the values of a row)."""
    step, lowest = step_and_lowest(a.x, row, 1.0)
    codes = opened(a.x, row, scratch)
    for place in range(0, a.x.channels, LANES):
        store(acc, place, maximum(centred(codes, place) * step + lowest, load(F64x16, acc, place)))


@task(MAX)
def _max(part: int, num_parts: int, a: Any) -> None:
    """Each part computes the segments that start in its share of the rows."""
    first, last = share(part, num_parts, a.ptr[a.segments])
    begin = first_place(a.ptr, a.segments, first)
    end = first_place(a.ptr, a.segments, last) if part < num_parts - 1 else a.segments
    acc = view(F64x16, advance(a.scratch, part * a.between))
    rest = advance(a.scratch, part * a.between + 8 * a.epilogue.stride)
    for segment in range(begin, end):
        least = splat(F64x16, -np.inf if a.ptr[segment] < a.ptr[segment + 1] else 0.0)
        for place in range(0, a.epilogue.stride, LANES):
            store(acc, place, least)
        for row in range(a.ptr[segment], a.ptr[segment + 1]):
            _raise_to(a, row, acc, rest)
        call(a.epilogue.finish, (a.epilogue, acc, segment, 1, rest))


def segment_reduce(x: Codes, ptr: Tensor, mode: str, epilogue: Epilogue) -> Codes | Tensor:
    if mode != "max":
        return sum_rows(ptr, None, x, PLAIN if mode == "sum" else MEAN, 0.0, epilogue)
    stride = (x.channels + LANES - 1) // LANES * LANES + BEHIND
    finish = finish_of(epilogue, ptr.numel() - 1, x.channels, Sums(np.float64, stride))
    if ptr.numel() > 1 and x.channels:
        num_parts = parts(x.data.numel())
        scratch, between = scratch_bytes(num_parts, 8 * stride + finish.scratch)
        arguments = MAX.pack(
            x=codes_of(x),
            ptr=ptr.contiguous(),
            segments=ptr.numel() - 1,
            epilogue=finish.packed,
            scratch=scratch,
            between=between,
        )
        _max.run(num_parts, arguments)
    return finish.result
