"""The inner loops of `attention`: powers of logits, and sums of rows of codes weighted by them.

Heads are padded to whole vectors of LANES; a `state` is the largest logit, then the sum of powers, of each, then the
sum of powers times what code 0 of the edge's source stands for (0 where rows have no grids of their own).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from dqrun.kernels.cpu.launch import inner
from dqrun.kernels.cpu.structure import BYTES, FLOATS, INTEGER, INTEGERS, REAL, WORDS, Structure
from dqrun.kernels.cpu.vector import (
    HAS_AVX512F,
    F32x16,
    F64x16,
    I32x16,
    U8x16,
    cast_bits,
    convert,
    fma,
    gather,
    load,
    maximum,
    permute,
    prefetch,
    registers,
    rint,
    splat,
    store,
    where,
)
from dqrun.kernels.integer.cpu.finishing import EPILOGUE
from dqrun.kernels.integer.cpu.rows_of_codes import CODES, LANES, NO_ROWS, step_and_lowest

MOST_VECTORS = 8  # vectors of sums in registers
CHUNK = 64  # edges whose powers are kept in the cache
AHEAD = 16  # edges between the prefetch of a row and its use: the time of a cache miss
LINE = 64  # bytes of a cache line
LOG2_E, LN2_HIGH, LN2_LOW = 1.44269504, 0.693359375, -2.12194440e-4  # Cephes
EXP_TERMS = (1 / 5040, 1 / 720, 1 / 120, 1 / 24, 1 / 6, 0.5, 1.0, 1.0)
LOWEST_EXPONENT = -87.0

ATTENTION = Structure(
    "Attention",
    x=CODES,
    rowptr=INTEGERS,
    col=WORDS,  # the source of each edge
    num_nodes=INTEGER,
    num_edges=INTEGER,
    source=FLOATS,  # both halves of the logits
    target=FLOATS,
    heads=INTEGER,
    padded=INTEGER,  # heads rounded up to LANES
    concat=INTEGER,  # whether heads are concatenated, else their mean is taken
    slope=REAL,
    places=WORDS,  # the head of each place of a sum
    total=INTEGER,  # places of a sum
    between=INTEGER,  # places of a sum from one plane of codes to the next
    cut=FLOATS,  # [parts, 2, total], cut_states and cut_rows [parts, 2, ...]: what parts find for rows that begin or
    cut_states=FLOATS,  # end in another part
    cut_rows=INTEGERS,
    slots=INTEGER,  # twice the parts
    epilogue=EPILOGUE,
    scratch=BYTES,
    each=INTEGER,  # bytes of scratch of a part
)


@inner
def _leaky(v: Any, slope: Any) -> Any:
    return maximum(v, v * slope)


@inner
def _exp(v: Any) -> Any:
    """e^v for v <= 0, to two units of the last place: n ln 2 + r, Taylor series of r, times 2^n."""
    v = maximum(v, LOWEST_EXPONENT)
    n = rint(v * LOG2_E)
    r = (v - n * LN2_HIGH) - n * LN2_LOW
    p = splat(F32x16, EXP_TERMS[0])
    for term in EXP_TERMS[1:]:
        p = fma(p, r, term)
    return p * cast_bits(F32x16, (convert(I32x16, n) + 127) << 23)


@inner
def _later(a: Any, edge: int) -> Any:
    """The source of the edge AHEAD of this one, or of the last edge."""
    return a.col[min(edge + AHEAD, a.num_edges - 1)]


@inner
def find_largest(a: Any, row: int, first: int, last: int, state: Any) -> None:
    """The largest logit of each head over the edges first..last of a row, into state."""
    for head in range(0, a.heads, LANES):
        top = splat(F32x16, -np.inf)
        for edge in range(first, last):
            prefetch(a.source, _later(a, edge) * a.heads + head)
            top = maximum(load(F32x16, a.source, a.col[edge] * a.heads + head), top)
        own = load(F32x16, a.target, row * a.heads + head)
        store(state, head, _leaky(top + own, np.float32(a.slope)))


@inner
def find_powers(a: Any, row: int, first: int, last: int, state: Any, p: Any) -> None:
    """exp(logit - largest) of each edge and head into p [edges, padded heads], and added to the sums of state."""
    for head in range(0, a.heads, LANES):
        own, top, total = load(F32x16, a.target, row * a.heads + head), load(F32x16, state, head), splat(F32x16, 0.0)
        for edge in range(first, last):
            half = load(F32x16, a.source, a.col[edge] * a.heads + head)
            power = _exp(_leaky(half + own, np.float32(a.slope)) - top)
            store(p, (edge - first) * a.padded + head, power)
            total = total + power
        store(state, a.padded + head, load(F32x16, state, a.padded + head) + total)
    if a.x.kind != NO_ROWS:
        _scale_powers(a, first, last, state, p)


@inner
def _scale_powers(a: Any, first: int, last: int, state: Any, p: Any) -> None:
    """Multiplies the powers of each edge by the scale of its source's row, and sums them times its lowest number."""
    for edge in range(first, last):
        scale, lowest = step_and_lowest(a.x, a.col[edge], 1.0)
        for head in range(a.heads):
            place = (edge - first) * a.padded + head
            state[2 * a.padded + head] += p[place] * np.float32(lowest)
            p[place] = p[place] * np.float32(scale)


def _of_heads(permuted: bool) -> Callable[..., Any]:
    """The function that selects values by the numbers of heads; `permuted`: all heads are in one vector."""

    @inner
    def of_heads(values: Any, at: int, heads: Any) -> Any:
        if permuted:
            return permute(load(F32x16, values, at), heads)
        return gather(F32x16, values, heads + at)

    return of_heads


def _block(vectors: int, planes: int, permuted: bool) -> Callable[..., None]:
    """Weighted sums of LANES * vectors bytes of rows, `planes` codes in each."""
    of_heads, count = _of_heads(permuted), vectors * planes
    bits, mask = 8 // planes, (1 << (8 // planes)) - 1

    @inner
    def block(a: Any, offset: int, first: int, last: int, p: Any, acc: Any) -> None:
        """acc[c] += the sum over the edges first..last of p[e, head of c] * (code - zero point), c from offset on."""
        sums, heads = registers(F32x16, count), registers(I32x16, count)
        for i in range(count):
            sums[i] = splat(F32x16, 0.0)
            heads[i] = load(I32x16, a.places, offset + LANES * (i % vectors) + a.between * (i // vectors))
        for edge in range(first, last):
            later, row = _later(a, edge) * a.x.width + offset, a.col[edge] * a.x.width + offset
            for v in range(0, vectors * LANES, LINE):
                prefetch(a.x.data, later + v)
            prefetch(a.x.data, later + vectors * LANES - 1)
            for i in range(count):
                codes = (load(U8x16, a.x.data, row + LANES * (i % vectors)) >> (bits * (i // vectors))) & mask
                value = convert(F32x16, convert(I32x16, codes) - a.x.zero_point)
                sums[i] = fma(value, of_heads(p, (edge - first) * a.padded, heads[i]), sums[i])
        for i in range(count):
            at = offset + LANES * (i % vectors) + a.between * (i // vectors)
            store(acc, at, load(F32x16, acc, at) + sums[i])

    return block


def add_weighted(planes: int) -> Callable[..., None]:
    """The function that adds weighted rows of codes, `planes` in a byte."""
    most_size, few_size = MOST_VECTORS // planes * LANES, block_bytes(planes)
    most_bytes, few_bytes = (_block(size // LANES, planes, HAS_AVX512F) for size in (most_size, few_size))
    any_bytes = _block(few_size // LANES, planes, False)

    @inner
    def add(a: Any, first: int, last: int, p: Any, acc: Any) -> None:
        """Adds the rows of codes col[first..last], less the zero point and times the powers, to acc."""
        offset = 0
        while offset < a.x.width:
            if a.padded > LANES:
                any_bytes(a, offset, first, last, p, acc)
                offset += few_size
            elif a.x.width - offset <= few_size:
                few_bytes(a, offset, first, last, p, acc)
                offset += few_size
            else:
                most_bytes(a, offset, first, last, p, acc)
                offset += most_size

    return add


def block_bytes(planes: int) -> int:
    """Bytes of the smallest block; the bytes of a row are rounded up to a multiple of it."""
    return max(MOST_VECTORS // planes // 2, 1) * LANES


_of_one_vector, _of_any = _of_heads(HAS_AVX512F), _of_heads(False)


@inner
def divide(a: Any, acc: Any, state: Any, sums: Any) -> None:
    """sums = acc, and what code 0 of the sources stands for, over the sums of powers; 0 where these are 0.

    In the order of channels: the next plane of codes overwrites what a plane writes beyond its end.
    """
    for plane in range(a.x.planes):
        for place in range(0, a.x.width, LANES):
            at = plane * a.between + place
            heads, v = load(I32x16, a.places, at), load(F32x16, acc, at)
            total = _of_any(state, a.padded, heads) if a.padded > LANES else _of_one_vector(state, a.padded, heads)
            if a.x.kind != NO_ROWS:
                v = v + gather(F32x16, state, heads + 2 * a.padded)
            store(sums, plane * a.x.width + place, convert(F64x16, v / where(total == 0.0, 1.0, total)))
