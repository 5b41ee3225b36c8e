"""`attention`: softmax and weighted sum of codes over the edges of each target, without a value per edge in memory.

A row of the graph is passed over twice: for its largest logit, then, CHUNK edges at a time, for the powers, their sum
and the sum of codes they weigh. LeakyReLU keeps order, so that the largest logit is that of the largest half. Rows
that cross a boundary between threads are put together from what each part found (largest logit, sum of powers,
weighted sum), after all parts.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange
from torch import Tensor

from dqrun.graphs import CSR
from dqrun.kernels.cpu.launch import Array, array, first_at_least, inner, kernel, parts, share
from dqrun.kernels.integer.codes import Codes
from dqrun.kernels.integer.cpu.finish import (
    Affine,
    Residual,
    Target,
    finish,
    finish_rows,
    no_own,
    numbers_of,
    readable,
    store_rows,
    target,
)
from dqrun.kernels.integer.cpu.halves import logit_halves
from dqrun.kernels.integer.cpu.row_codes import MOST_ROWS, NO_ROWS
from dqrun.kernels.integer.cpu.vectors import LANES, hold, pointers
from dqrun.kernels.integer.cpu.weighted import (
    CHUNK,
    add_lowest,
    add_weighted,
    divide,
    fill,
    largest,
    padded_heads,
    padded_places,
    powers,
    scale_powers,
)
from dqrun.kernels.integer.epilogue import Epilogue

# codes, bytes of a row, channels, whether packed, zero point, heads, whether they are concatenated, negative slope,
# numbers of rows with grids of their own, their kind of offset
Source = tuple[Any, ...]
# both halves of the logits [N * H + LANES], the head of each place of a sum (int32), edges, places
Logits = tuple[Any, ...]


@inner
def _sum_edges(at: Any, col: Any, row: int, first: int, last: int, x: Source, y: Logits) -> None:
    """The weighted sum over the edges first..last of a row, not yet divided, into acc, and its state (`weighted`)."""
    acc, state, p, _ = at
    fill((acc, y[4]))
    fill((state, 3 * padded_heads(x[5])))
    largest(y, x, col, row, first, last, state)
    for start in range(first, last, CHUNK):
        stop = min(start + CHUNK, last)
        powers(y, x, col, row, start, stop, state, p)
        if x[9] != NO_ROWS:
            scale_powers(x, col, start, stop, p, state)
        add_weighted(y, x, col, start, stop, p, acc)


@inner
def _finish_row(at: Any, sums: Array, mean: Array, row: int, x: Source, y: Logits, how: Any, waiting: Any) -> None:
    """Divides by the sum of powers, takes the mean over heads where that is asked, and runs the epilogue.

    sums and mean: the arrays behind their pointers.
    """
    acc, state, _, mean_at = at
    _, width, channels, packed, _, heads, concat, _, _, kind = x
    high, each = padded_places(width), channels // heads
    if kind != NO_ROWS:
        add_lowest(acc, state, y, heads)
    divide(acc, state, y, heads)
    if concat:
        finish_rows(acc, 0, 0, row, 1, 0, width, how, no_own(how), waiting)
        if packed and width < channels:
            finish_rows(acc, high, 0, row, 1, width, channels - width, how, no_own(how), waiting)
    else:
        _mean(sums, mean, width, channels, heads)
        finish_rows(mean_at, 0, 0, row, 1, 0, each, how, no_own(how), waiting)
    store_rows(row, 1, 0, how, waiting)


@inner
def _mean(sums: Array, mean: Array, width: int, channels: int, heads: int) -> None:
    high, each = padded_places(width), channels // heads
    for c in range(each):
        mean[c] = np.float32(0)
        for place in range(c, channels, each):
            mean[c] += sums[place if place < width else high + place - width]
        mean[c] /= np.float32(heads)


@kernel
def _attention(
    rowptr: Array,
    col: Array,
    x: Source,
    y: Logits,
    affine: Affine,
    residual: Residual,
    out: Target,
    cut: Array,
    cut_states: Array,
    cut_rows: Array,
) -> None:
    """cut, cut_states and cut_rows [parts, 2, ...] take what parts find for rows that begin or end in another part."""
    num_rows, num_parts = rowptr.size - 1, cut_rows.size // 2
    total, heads = cut.size // cut_rows.size, cut_states.size // cut_rows.size
    for part in prange(num_parts):
        first, last = share(part, num_parts, col.size)
        row = first_at_least(rowptr[:num_rows], first)
        if rowptr[row] > first:
            row -= 1
        acc, mean = np.empty(total, np.float32), np.empty(total, np.float32)
        state, p = np.empty(heads, np.float32), np.empty(CHUNK * heads, np.float32)
        results, reals = np.empty(total + LANES, np.uint8), np.empty(total + LANES, np.float32)
        ends = np.empty(3 * MOST_ROWS, np.float32)
        x_at, y_at, how = pointers(x), pointers(y), (pointers(affine), pointers(residual), pointers(out))
        at, waiting, col_at = pointers((acc, state, p, mean)), pointers((results, reals, ends)), pointers((col,))[0]
        cut_rows[2 * part] = cut_rows[2 * part + 1] = -1
        while row < num_rows and (rowptr[row] < last or part == num_parts - 1):
            start, stop = max(first, rowptr[row]), min(last, rowptr[row + 1])
            _sum_edges(at, col_at, row, start, stop, x_at, y_at)
            if start == rowptr[row] and stop == rowptr[row + 1]:
                _finish_row(at, acc, mean, row, x_at, y_at, how, waiting)
            else:
                slot = 2 * part + (start == rowptr[row])
                cut_rows[slot] = row
                cut[slot * total : (slot + 1) * total] = acc
                cut_states[slot * heads : (slot + 1) * heads] = state
            row += 1
        hold((acc, state, p, mean, results, reals, ends))
    how = (pointers(affine), pointers(residual), pointers(out))
    _finish_cut_rows(cut, cut_states, cut_rows, pointers(x), pointers(y), y[2], how)


@inner
def _merge(acc: Array, state: Array, other: Array, other_state: Array, places: Array) -> None:
    """Adds another part's sums of a row, both brought to the larger of the largest logits."""
    heads = state.size // 3
    ours, theirs = np.empty(heads, np.float32), np.empty(heads, np.float32)
    for head in range(heads):
        top = max(state[head], other_state[head])
        ours[head], theirs[head] = np.exp(state[head] - top), np.exp(other_state[head] - top)
        state[head] = top
        for place in (heads + head, 2 * heads + head):
            state[place] = state[place] * ours[head] + other_state[place] * theirs[head]
    for c in range(places.size):
        acc[c] = acc[c] * ours[places[c]] + other[c] * theirs[places[c]]


@inner
def _finish_cut_rows(
    cut: Array, cut_states: Array, cut_rows: Array, x: Source, y: Logits, places: Array, how: Any
) -> None:
    """Rows that several parts summed, in order."""
    total, heads = cut.size // cut_rows.size, cut_states.size // cut_rows.size
    acc, state, mean = np.empty(total, np.float32), np.empty(heads, np.float32), np.empty(total, np.float32)
    results, reals = np.empty(total + LANES, np.uint8), np.empty(total + LANES, np.float32)
    ends = np.empty(3 * MOST_ROWS, np.float32)
    at, waiting, row = pointers((acc, state, acc, mean)), pointers((results, reals, ends)), -1
    for slot in range(cut_rows.size):
        if cut_rows[slot] >= 0:
            other, other_state = cut[slot * total : (slot + 1) * total], cut_states[slot * heads : (slot + 1) * heads]
            if cut_rows[slot] == row:
                _merge(acc, state, other, other_state, places)
                continue
            if row >= 0:
                _finish_row(at, acc, mean, row, x, y, how, waiting)
            acc[:], state[:] = other, other_state
            row = cut_rows[slot]
    if row >= 0:
        _finish_row(at, acc, mean, row, x, y, how, waiting)
    hold((acc, state, mean, results, reals, ends))


def _places(h: Codes, heads: int, total: int) -> Array:
    """The head of each place of a sum (0 for places that hold nothing)."""
    width, places = h.data.size(1), np.zeros(total, np.int32)
    head = np.arange(h.channels, dtype=np.int32) // max(h.channels // heads, 1)
    places[:width] = head[:width]
    high = padded_places(width)
    places[high : high + h.channels - width] = head[width:]
    return places


def attention(
    csr: CSR,
    h: Codes,
    a_source: Tensor,
    a_target: Tensor,
    negative_slope: float,
    concat: bool,
    epilogue: Epilogue,
) -> Codes | Tensor:
    heads, channels = a_source.shape
    result, out = target(epilogue, csr.num_nodes, h.channels if concat else channels)
    if csr.num_nodes and h.channels:
        width = h.data.size(1)
        total = (2 if h.grid.packed else 1) * padded_places(width)
        given = readable(h), width, h.channels, h.grid.packed, h.grid.zero_point, heads, concat, negative_slope
        x = *given, *numbers_of(h)
        y = (*logit_halves(h, a_source, a_target), _places(h, heads, total), csr.num_edges, total)
        num_parts = parts((csr.num_edges + csr.num_nodes) * h.channels)
        cut, states = (np.empty(num_parts * 2 * size, np.float32) for size in (total + LANES, 3 * padded_heads(heads)))
        how = finish(epilogue, h.channels if concat else channels)
        rows = np.empty(num_parts * 2, np.int64)
        _attention(array(csr.rowptr), array(csr.short_col), x, y, *how, out, cut, states, rows)
    return result
