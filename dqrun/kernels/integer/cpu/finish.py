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
from dqrun.kernels.integer.codes import SLACK, Codes
from dqrun.kernels.integer.cpu.steps import BYTE_LANES, DOUBLES, WORDS, constant, finish_steps, largest, smallest, widen
from dqrun.kernels.integer.cpu.vectors import F32, F64, I8, I64, LANES, Builder, Values, make
from dqrun.kernels.integer.epilogue import Epilogue
from dqrun.kernels.integer.reference import EXP_TERMS, LN2_HIGH, LN2_LOW, LOG2_E, LOWEST_EXPONENT

REALS, BYTES, NIBBLES = 0, 1, 2  # what comes out: float32, codes, or two codes in a byte
NO_DOUBLES, NO_REALS, NO_BYTES = np.empty(0, np.float64), np.empty(0, np.float32), np.empty(0, np.uint8)
# multiplier, bias, gain, offset (with LANES more than there are channels), row_scale, whether there is one, floor
# before the gain, floor after it, whether there is a gain, whether an ELU follows, whether values are in steps
Affine = tuple[Any, ...]
# residual codes, whether there are any, whether they are packed, zero point, what a step is worth
Residual = tuple[Any, ...]
# reals, bytes (one of them empty), what comes out, channels, bytes of a row, 1 / scale, zero point, largest code
Target = tuple[Any, ...]


def finish(epilogue: Epilogue, channels: int) -> tuple[Affine, Residual]:
    """An epilogue as kernels take it."""

    def vector(value: Tensor | None, absent: float) -> Array:
        value = torch.tensor([absent], dtype=torch.float64) if value is None else value
        return array(F.pad(value.expand(channels), (0, LANES)))

    e, r = epilogue.folded, epilogue.residual
    vectors = vector(e.multiplier, 1.0), vector(e.bias, 0.0), vector(e.gain, 1.0), vector(e.offset, 0.0)
    floors = (0.0 if e.pre_relu else -np.inf), (0.0 if e.activation == "relu" else -np.inf)
    flags = e.gain is not None, e.activation == "elu", epilogue.in_steps
    affine = (*vectors, optional(e.row_scale, NO_DOUBLES), e.row_scale is not None, *floors, *flags)
    if r is None:
        return affine, (NO_BYTES, False, False, 0.0, 1.0)
    return affine, (readable(r), True, r.grid.packed, float(r.grid.zero_point), epilogue.residual_step)


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
        return reals, (array(reals), NO_BYTES, REALS, channels, channels, 1.0, 0.0, 0.0)
    codes = Codes.empty(num_rows, channels, grid)
    kind, width = NIBBLES if grid.packed else BYTES, grid.row_bytes(channels)
    values = 1 / grid.scale, float(grid.zero_point), float(grid.top)
    return codes, (NO_REALS, array(codes.data), kind, channels, width, *values)


LONGS = ir.VectorType(I64, LANES)


def _rint(b: Builder, v: Any) -> Any:
    return b.call(f"llvm.rint.v{LANES}f64", DOUBLES, [v])


def _elu(b: Builder, v: Any) -> Any:
    """`reference.exp` where v is negative, less 1."""
    below = largest(b, smallest(b, v, constant(0.0)), constant(LOWEST_EXPONENT))
    n = _rint(b, b.ir.fmul(below, constant(LOG2_E)))
    r = b.ir.fsub(below, b.ir.fmul(n, constant(LN2_HIGH)))
    r = b.ir.fsub(r, b.ir.fmul(n, constant(LN2_LOW)))
    p = constant(EXP_TERMS[0])
    for term in EXP_TERMS[1:]:
        p = b.ir.fadd(b.ir.fmul(p, r), constant(term))
    exponent = b.ir.add(b.ir.fptosi(n, LONGS), ir.Constant(LONGS, [1023] * LANES))
    power = b.ir.bitcast(b.ir.shl(exponent, ir.Constant(LONGS, [52] * LANES)), DOUBLES)
    negative = b.ir.fsub(b.ir.fmul(p, power), constant(1.0))
    return b.ir.select(b.ir.fcmp_ordered(">", v, constant(0.0)), v, negative)


def _emit_finish(b: Builder) -> None:
    """The results of `count` channels of a row. Arguments: see `finish_values`."""
    acc, at, first, count, row, row_scale, has_scale, *rest = b.args
    multiplier, bias, gain, offset, low, high, gained, elu, *rest = rest
    residual, beside, shift, mask, residual_zero, residual_scale, *rest = rest
    reals, codes, start, coded, *quantizer = rest
    inverse, zero_point, top = (b.splat(value, LANES) for value in quantizer)
    acc_kind = b.kinds[0].dtype

    def holds(flag: Any) -> Any:
        return b.ir.icmp_signed("!=", flag, I64(0))

    (scale,) = b.when(holds(has_scale), [F64(1.0)], lambda _: [b.load(row_scale, row, F64)])

    def scaled(values: Values, channel: Any) -> Values:
        return [b.ir.fadd(b.ir.fmul(values[0], b.load(gain, channel, DOUBLES)), b.load(offset, channel, DOUBLES))]

    def with_residual(values: Values, place: Any) -> Values:
        bytes_ = b.load(residual, b.ir.add(beside, place), BYTE_LANES)
        bytes_ = b.ir.and_(
            b.ir.lshr(bytes_, b.splat(b.ir.trunc(shift, I8), LANES)), b.splat(b.ir.trunc(mask, I8), LANES)
        )
        steps = b.ir.fsub(b.ir.uitofp(bytes_, DOUBLES), b.splat(residual_zero, LANES))
        return [b.ir.fadd(values[0], b.ir.fmul(steps, b.splat(residual_scale, LANES)))]

    def encode(v: Any, place: Any, left: Any) -> Values:
        code = b.ir.fadd(_rint(b, b.ir.fmul(v, inverse)), zero_point)
        code = smallest(b, largest(b, code, constant(0.0)), top)
        code = b.ir.trunc(b.ir.fptosi(code, WORDS), BYTE_LANES)
        b.store_some(code, codes, b.ir.add(start, place), left)
        return []

    def store(v: Any, place: Any, left: Any) -> Values:
        b.store_some(b.ir.fptrunc(v, ir.VectorType(F32, LANES)), reals, b.ir.add(start, place), left)
        return []

    def step(index: Any, _: Values) -> Values:
        place = b.ir.mul(index, I64(LANES))
        channel, left = b.ir.add(first, place), b.ir.sub(count, place)
        v = widen(b, acc, b.ir.add(at, place), acc_kind)
        v = b.ir.fmul(b.ir.fmul(v, b.splat(scale, LANES)), b.load(multiplier, channel, DOUBLES))
        v = largest(b, b.ir.fadd(v, b.load(bias, channel, DOUBLES)), b.splat(low, LANES))
        (v,) = b.when(holds(gained), [v], lambda values: scaled(values, channel))
        v = largest(b, v, b.splat(high, LANES))
        (v,) = b.when(holds(elu), [v], lambda values: [_elu(b, values[0])])
        (v,) = b.when(holds(mask), [v], lambda values: with_residual(values, place))
        b.when(holds(coded), [], lambda _: encode(v, place, left))
        b.when(b.ir.not_(holds(coded)), [], lambda _: store(v, place, left))
        return []

    b.loop(b.ir.ashr(b.ir.add(count, I64(LANES - 1)), I64(4)), [], step)


def _emit_pack(b: Builder) -> None:
    """Codes of a row two in a byte. Arguments: codes, at, channels, out, start, bytes of the row."""
    codes, at, channels, out, start, half = b.args
    b.store(I8(0), codes, b.ir.add(at, channels))  # what an odd number of channels leaves in the last byte

    def step(index: Any, _: Values) -> Values:
        place = b.ir.mul(index, I64(LANES))
        low = b.load(codes, b.ir.add(at, place), BYTE_LANES)
        high = b.load(codes, b.ir.add(b.ir.add(at, half), place), BYTE_LANES)
        both = b.ir.or_(low, b.ir.shl(high, ir.Constant(BYTE_LANES, [4] * LANES)))
        b.store_some(both, out, b.ir.add(start, place), b.ir.sub(half, place))
        return []

    b.loop(b.ir.ashr(b.ir.add(half, I64(LANES - 1)), I64(4)), [], step)


_finish, pack = make(_emit_finish), make(_emit_pack)


@inner
def finish_rows(
    acc: Any,
    at: int,
    stride: int,
    row: int,
    rows: int,
    first: int,
    count: int,
    affine: Affine,
    out: Target,
    codes: Any,
) -> None:
    """`finish_values` of several rows, in steps of the grid and without residual.

    The sums of a row lie `stride` behind those of the row before it, and results that wait in `codes` too.
    """
    multiplier, bias, gain, offset, row_scale, has_scale, low, high, gained, _, _ = affine
    _, bytes_, kind, _, width, _, zero_point, top = out
    sums = (acc, at, first, count, row, row_scale, has_scale)
    how = (multiplier, bias, gain, offset, low, high, bytes_, 0, 0, 0, 0.0, 0.0)
    if kind == NIBBLES:
        finish_steps((rows, stride, stride, *sums, *how, codes, first, gained, zero_point, top))
    else:
        finish_steps((rows, stride, width, *sums, *how, bytes_, row * width + first, gained, zero_point, top))


@inner
def finish_values(
    acc: Any,
    at: int,
    row: int,
    first: int,
    count: int,
    affine: Affine,
    residual: Residual,
    out: Target,
    codes: Any,
) -> None:
    """The results of channels first..first + count of a row, from their sums acc[at..at + count].

    All arrays are pointers. acc: LANES more can be read. codes: scratch, uint8 [channels + LANES], where results wait
    for `pack_row`.
    """
    multiplier, bias, gain, offset, row_scale, has_scale, low, high, gained, elu, in_steps = affine
    beside, has_residual, packed, zero, step = residual
    reals, bytes_, kind, channels, width, inverse, zero_point, top = out
    if in_steps and not has_residual:
        finish_rows(acc, at, 0, row, 1, first, count, affine, out, codes)
        return
    half, last = (channels + 1) // 2, first + count
    middle = min(max(half, first), last) if packed else last  # the low nibbles of a residual end there
    for piece in range(2):
        start, stop = (middle, last) if piece else (first, middle)
        if start < stop:
            sums = (acc, at + start - first, start, stop - start, row, row_scale, has_scale)
            how = (multiplier, bias, gain, offset, low, high, gained, elu)
            place = row * (half if packed else channels) + start - piece * half
            mask = (15 if packed else 255) if has_residual else 0
            shortcut = (beside, place, 4 * piece, mask, zero, step)
            quantizer = (kind != REALS, inverse, zero_point, top)
            if in_steps:
                one = (1, 0, 0, *sums, multiplier, bias, gain, offset, low, high, *shortcut)
                if kind == NIBBLES:
                    finish_steps((*one, codes, start, gained, zero_point, top))
                else:
                    finish_steps((*one, bytes_, row * width + start, gained, zero_point, top))
            elif kind == NIBBLES:
                _finish((*sums, *how, *shortcut, reals, codes, start, *quantizer))
            else:
                _finish((*sums, *how, *shortcut, reals, bytes_, row * width + start, *quantizer))


@inner
def pack_row(row: int, out: Target, codes: Any, at: int = 0) -> None:
    """Stores the codes of a row, codes[at:], two in a byte, where that is what comes out."""
    _, bytes_, kind, channels, width, _, _, _ = out
    if kind == NIBBLES:
        pack((codes, at, channels, bytes_, row * width, width))
