"""The two halves of attention's logits: products of a node's codes with the vectors of all heads, in float32."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dqrun.kernels.cpu.launch import inner, parts, share
from dqrun.kernels.cpu.structure import BYTES, FLOATS, INTEGER, Structure
from dqrun.kernels.cpu.task import advance, scratch_bytes, task, view
from dqrun.kernels.cpu.vector import F32x16, U8x16, convert, fma, load, registers, splat, store
from dqrun.kernels.integer.codes import CodeGrid, Codes
from dqrun.kernels.integer.cpu.rows_of_codes import CODES, LANES, NO_ROWS, UNPACKED, codes_of, opened, step_and_lowest

ROWS = 8  # independent sums: latency of an addition in cycles, times two additions per cycle

HALVES = Structure(
    "Halves",
    x=CODES,
    a=FLOATS,  # [channels, lanes], the heads of the source first
    lanes=INTEGER,  # twice the heads, rounded up to LANES
    heads=INTEGER,
    source=FLOATS,
    target=FLOATS,
    scratch=BYTES,
    between=INTEGER,  # bytes of scratch of a part
)


@inner
def _centre(x: Any, row: int, out: Any, at: int, scratch: Any) -> None:
    """Writes the numbers of a row's codes as float32 to out[at..]; whole vectors, so up to a vector more."""
    codes, zero_point = opened(x, row, scratch)
    for place in range(0, x.channels, LANES):
        store(out, at + place, convert(F32x16, load(U8x16, codes, place)) - np.float32(zero_point))
    if x.kind != NO_ROWS:
        scale, lowest = step_and_lowest(x, row, 1.0)
        for c in range(at, at + x.channels):
            out[c] = out[c] * scale + lowest


@inner
def _products(a: Any, rows: Any, stride: int, first: int, out: Any) -> None:
    """out[r, first..] = sum over k of rows[r, k] * a[k, first..], for ROWS r and LANES columns."""
    sums = registers(F32x16, ROWS)
    for r in range(ROWS):
        sums[r] = splat(F32x16, 0.0)
    for k in range(a.x.channels):
        column = load(F32x16, a.a, k * a.lanes + first)
        for r in range(ROWS):
            sums[r] = fma(column, rows[r * stride + k], sums[r])
    for r in range(ROWS):
        store(out, r * a.lanes + first, sums[r])


@task(HALVES)
def _halves(part: int, num_parts: int, a: Any) -> None:
    begin, end = share(part, num_parts, a.x.rows)
    stride = a.x.channels + 2 * LANES
    rows = view(F32x16, advance(a.scratch, part * a.between))
    out = advance(rows, ROWS * stride + LANES)
    codes = view(U8x16, advance(out, ROWS * a.lanes))
    for row in range(begin, end, ROWS):
        count = min(ROWS, end - row)
        for r in range(count):
            _centre(a.x, row + r, rows, r * stride, codes)
        for first in range(0, a.lanes, LANES):
            _products(a, rows, stride, first, out)
        for r in range(count):
            for head in range(a.heads):
                a.source[(row + r) * a.heads + head] = out[r * a.lanes + head]
                a.target[(row + r) * a.heads + head] = out[r * a.lanes + a.heads + head]


def logit_halves(h: Codes, a_source: Tensor, a_target: Tensor) -> tuple[Tensor, Tensor]:
    """a_source . h and a_target . h of each node and head, float32 [N * H + LANES], from a: float32 [H, C]."""
    heads = a_source.size(0)
    source, target = (torch.empty(h.num_rows * heads + LANES) for _ in range(2))
    scale = h.grid.scale if isinstance(h.grid, CodeGrid) else 1.0
    if h.num_rows and heads:
        own = torch.eye(heads).unsqueeze(1)  # [H, 1, H]: a head's channels add to its own sum only
        spread = [(a.unsqueeze(2) * own).view(h.channels, heads) for a in (a_source, a_target)]
        a = F.pad(torch.cat(spread, 1) * scale, (0, -2 * heads % LANES)).contiguous()
        num_parts, lanes = parts(h.num_rows * h.channels), a.size(1)
        scratch, between = scratch_bytes(
            num_parts, 4 * (ROWS * (h.channels + 2 * LANES + lanes) + LANES) + h.channels + UNPACKED
        )
        given = {"x": codes_of(h), "a": a, "lanes": lanes, "heads": heads, "source": source, "target": target}
        _halves.run(num_parts, HALVES.pack(**given, scratch=scratch, between=between))
    return source, target
