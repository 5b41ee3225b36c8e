"""The two halves of attention's logits: products of a node's codes with the vectors of all heads, in float32."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from llvmlite import ir
from numba import prange
from torch import Tensor

from dqrun.kernels.cpu.launch import Array, array, inner, kernel, parts, share
from dqrun.kernels.integer.codes import CodeGrid, Codes
from dqrun.kernels.integer.cpu.finish import numbers_of, readable, row_values
from dqrun.kernels.integer.cpu.row_codes import NO_ROWS
from dqrun.kernels.integer.cpu.vectors import F32, I8, I64, LANES, Builder, Values, hold, make, pointers, zeros

ROWS = 8  # sums that run beside each other: the time of an addition times two per cycle
FLOATS, BYTE_LANES = ir.VectorType(F32, LANES), ir.VectorType(I8, LANES)


def _emit_centre(b: Builder) -> None:
    """Codes less their zero point as float32. Arguments: x, start, bytes, shift, mask, zero point, out, at."""
    x, start, count, shift, mask, zero_point, out, at = b.args
    shifts, masks = (b.splat(b.ir.trunc(value, I8), LANES) for value in (shift, mask))
    zero = b.splat(b.ir.fptrunc(zero_point, F32), LANES)

    def step(index: Any, _: Values) -> Values:
        place = b.ir.mul(index, I64(LANES))
        codes = b.ir.lshr(b.load(x, b.ir.add(start, place), BYTE_LANES), shifts)
        b.store(b.ir.fsub(b.ir.uitofp(b.ir.and_(codes, masks), FLOATS), zero), out, b.ir.add(at, place))
        return []

    b.loop(b.ir.ashr(b.ir.add(count, I64(LANES - 1)), I64(4)), [], step)


def _emit_products(b: Builder) -> None:
    """out[r, first + c] = sum over k of x[r, k] * a[k, first + c], for ROWS r and LANES c.

    Arguments: x [ROWS, stride], stride, a [channels, lanes], channels, lanes, first, out [ROWS, lanes].
    """
    x, stride, a, channels, lanes, first, out = b.args

    def step(k: Any, sums: Values) -> Values:
        vectors = b.load(a, b.ir.add(b.ir.mul(k, lanes), first), FLOATS)
        results = []
        for r, old in enumerate(sums):
            value = b.splat(b.load(x, b.ir.add(b.ir.mul(stride, I64(r)), k), F32), LANES)
            product = b.ir.fmul(value, vectors, flags=("contract",))
            results.append(b.ir.fadd(old, product, flags=("contract",)))
        return results

    for r, value in enumerate(b.loop(channels, [zeros(F32, LANES)] * ROWS, step)):
        b.store(value, out, b.ir.add(b.ir.mul(lanes, I64(r)), first))


_centre, _products = make(_emit_centre), make(_emit_products)


@inner
def _centre_row(codes: Any, row: int, width: int, packed: bool, zero_point: float, out: Any, at: int) -> None:
    _centre((codes, row * width, width, 0, 15 if packed else 255, zero_point, out, at))
    if packed:
        _centre((codes, row * width, width, 4, 15, zero_point, out, at + width))


@kernel
def _halves(x: Any, num_rows: int, a: Array, heads: int, source: Array, target: Array, num_parts: int) -> None:
    """x: codes, channels, bytes of a row, whether packed, zero point, numbers of rows, their kind of offset.

    a: [channels, lanes], source's heads first.
    """
    codes, channels, width, packed, zero_point, numbers, kind = x
    lanes, stride = a.size // channels, channels + 2 * LANES
    for part in prange(num_parts):
        begin, end = share(part, num_parts, num_rows)
        rows, out = np.empty(ROWS * stride + LANES, np.float32), np.empty(ROWS * lanes, np.float32)
        codes_at, a_at, rows_at, out_at, numbers_at = pointers((codes, a, rows, out, numbers))
        for row in range(begin, end, ROWS):
            count = min(ROWS, end - row)
            for r in range(count):
                _centre_row(codes_at, row + r, width, packed, zero_point, rows_at, r * stride)
                if kind != NO_ROWS:
                    scale, lowest = row_values(numbers_at, kind, row + r, 1.0)
                    for c in range(r * stride, r * stride + channels):
                        rows[c] = rows[c] * scale + lowest
            for first in range(0, lanes, LANES):
                _products((rows_at, stride, a_at, channels, lanes, first, out_at))
            for r in range(count):
                for head in range(heads):
                    source[(row + r) * heads + head] = out[r * lanes + head]
                    target[(row + r) * heads + head] = out[r * lanes + heads + head]
        hold((rows, out))


def logit_halves(h: Codes, a_source: Tensor, a_target: Tensor) -> tuple[Array, Array]:
    """a_source . h and a_target . h of each node and head, float32 [N * H + LANES], from a: float32 [H, C]."""
    heads = a_source.size(0)
    source, target = (np.empty(h.num_rows * heads + LANES, np.float32) for _ in range(2))
    scale = h.grid.scale if isinstance(h.grid, CodeGrid) else 1.0
    if h.num_rows and heads:
        own = torch.eye(heads).unsqueeze(1)  # [H, 1, H]: a head's channels add to its own sum only
        spread = [(a.unsqueeze(2) * own).view(h.channels, heads) for a in (a_source, a_target)]
        a = F.pad(torch.cat(spread, 1) * scale, (0, -2 * heads % LANES)).contiguous()
        given = readable(h), h.channels, h.data.size(1), h.grid.packed, float(h.grid.zero_point)
        x = *given, *numbers_of(h)
        num_parts = parts(h.num_rows * h.channels)
        _halves(x, h.num_rows, array(a), heads, source, target, num_parts)
    return source, target
