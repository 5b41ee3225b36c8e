"""Exact ranges of a multiset in linear time: `tail_range` and `message_range`.

Two thresholds guessed from a sample put slightly more than the asked tails outside. One pass counts what lies outside;
when the wanted ranks are there, a second collects it, and a radix selection among the collected elements ends the
search. A guess that was too tight is widened, at last to everything, so the result never depends on the sample.

The elements are rows of `width` values: row r is `factor[r] * x[s]`, s = source[r // heads] * heads + r % heads (empty
source: s = r), and counts `count[source[r // heads]]` times. Empty factor and count stand for ones.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numba import prange
from torch import Tensor

from dqrun.graph import CSR
from dqrun.kernels.cpu.launch import (
    NO_FLOATS,
    NO_INTEGERS,
    Array,
    array,
    inner,
    kernel,
    optional,
    parts,
    share,
)
from dqrun.kernels.cpu.selection import from_ordered, select, to_ordered

SAMPLE = 8192
GROUP = 16  # elements that the collecting pass skips at once when none of them is outside
INFINITY = np.float32(np.inf)
Elements = tuple[Array, Array, Array, Array, int, int]  # x, source, factor, count, heads, width


@inner
def _piece(elements: Elements, start: int, stop: int) -> tuple[int, int, Any, int]:
    """The elements from `start` that lie in one row and before `stop`: first place in x, end, factor, count."""
    _, source, factor, count, heads, width = elements
    row = start // width
    node = source[row // heads] if source.size else row
    first = (node * heads + row % heads) * width + start - row * width
    end = min(stop, (row + 1) * width)
    return first, end, factor[row] if factor.size else np.float32(1), count[node] if count.size else 1


@inner
def _slice_extremes(x: Array, factor: Any, low: Any, high: Any) -> tuple[Any, Any]:
    for i in range(x.size):
        ordered = to_ordered(x[i] * factor)
        low = min(low, ordered)
        high = max(high, ordered)
    return low, high


@kernel
def _extremes(elements: Elements, num_elements: int, ends: Array) -> None:
    """The least and the largest counted element of each part, into ends [parts, 2].

    Compared as integers, which the compiler can do in vector lanes.
    """
    num_parts = ends.shape[0]
    for part in prange(num_parts):
        start, stop = share(part, num_parts, num_elements)
        low, high = to_ordered(INFINITY), to_ordered(-INFINITY)
        while start < stop:
            first, end, factor, count = _piece(elements, start, stop)
            if count > 0:
                low, high = _slice_extremes(elements[0][first : first + end - start], factor, low, high)
            start = end
        ends[part, 0], ends[part, 1] = from_ordered(low), from_ordered(high)


@kernel
def _thresholds(elements: Elements, num_elements: int, tail: float, widening: float, guesses: Array) -> None:
    """Guesses from a sample, one element of each of SAMPLE strata: values with more than the asked tails outside.

    Into guesses [2]: the lower one, and the upper one with its sign changed.
    """
    values, counts = np.empty((2, SAMPLE), np.float32), np.empty(SAMPLE, np.int64)
    total, squares = 0, 0.0
    for i in range(SAMPLE):
        start, stop = share(i, SAMPLE, num_elements)
        start += (i * 2654435761 >> 7) % (stop - start)  # scattered, lest the stride meet the width of a row
        first, _, factor, count = _piece(elements, start, start + 1)
        values[0, i] = elements[0][first] * factor
        values[1, i] = -values[0, i]
        counts[i] = count
        total += count
        squares += float(count) * float(count)
    guesses[0], guesses[1] = INFINITY, INFINITY
    if total > 0:
        size = total / squares * total  # of an equally good sample without weights
        rank = np.int64(total * (tail + widening * (4 * np.sqrt(tail / size) + 8 / size)))
        if rank < total:
            for side in prange(2):
                guesses[side] = select(values[side], counts, rank)


@inner
def _count_slice(x: Array, factor: Any, low: Any, high: Any) -> tuple[int, int, int, int]:
    below, at_low, above, at_high = 0, 0, 0, 0
    for i in range(x.size):
        value = x[i] * factor
        below += value < low
        at_low += value == low
        above += value > high
        at_high += value == high
    return below, at_low, above, at_high


@kernel
def _count(elements: Elements, num_elements: int, low: Any, high: Any, counted: Array, outside: Array) -> None:
    """How often elements below, at low, above and at high count, and how many are outside, of each part.

    Into counted [parts, 4] and outside [parts, 2], which hold zeros.
    """
    num_parts = counted.shape[0]
    for part in prange(num_parts):
        start, stop = share(part, num_parts, num_elements)
        while start < stop:
            first, end, factor, count = _piece(elements, start, stop)
            if count > 0:
                x = elements[0][first : first + end - start]
                below, at_low, above, at_high = _count_slice(x, factor, low, high)
                counted[part, 0] += below * count
                counted[part, 1] += at_low * count
                counted[part, 2] += above * count
                counted[part, 3] += at_high * count
                outside[part, 0] += below
                outside[part, 1] += above
            start = end


@inner
def _any_outside(x: Array, factor: Any, low: Any, high: Any) -> Any:
    found = np.int32(0)
    for i in range(x.size):
        value = x[i] * factor
        found |= np.int32((value < low) | (value > high))
    return found > 0


@inner
def _collect_slice(
    x: Array, factor: Any, count: int, low: Any, high: Any, values: Array, counts: Array, below: int, above: int
) -> tuple[int, int]:
    for start in range(0, x.size, GROUP):
        group = x[start : start + GROUP]
        if _any_outside(group, factor, low, high):
            for i in range(group.size):
                value = group[i] * factor
                if value < low:
                    values[below], counts[below] = value, count
                    below += 1
                if value > high:  # both, when the guesses overlap
                    values[above], counts[above] = -value, count
                    above += 1
    return below, above


@kernel
def _collect(
    elements: Elements, num_elements: int, low: Any, high: Any, places: Array, values: Array, counts: Array
) -> None:
    """The elements outside, those above with their sign changed, and how often each counts.

    places [parts, 2]: where in values and counts those of each part below and above begin.
    """
    num_parts = places.shape[0]
    for part in prange(num_parts):
        below, above = places[part, 0], places[part, 1]
        start, stop = share(part, num_parts, num_elements)
        while start < stop:
            first, end, factor, count = _piece(elements, start, stop)
            if count > 0:
                x = elements[0][first : first + end - start]
                below, above = _collect_slice(x, factor, count, low, high, values, counts, below, above)
            start = end


@kernel
def _select_sides(values: Array, counts: Array, num_below: int, rank: int, wanted: Array, ends: Array) -> None:
    """The element of that rank among the first num_below and among the rest, for the sides that are wanted."""
    for side in prange(2):
        if wanted[side]:
            first, last = (0, num_below) if side == 0 else (num_below, values.size)
            ends[side] = select(values[first:last], counts[first:last], rank)


def _tails(elements: Elements, num_elements: int, tail: float, rank: int) -> Array:
    """The elements of that rank from below and from above, the latter with its sign changed [2]."""
    num_parts, widening = parts(num_elements), 1.0
    ends = np.full(2, INFINITY)  # everything is outside
    while True:
        if num_elements > SAMPLE:
            _thresholds(elements, num_elements, tail, widening, ends)
        counted, outside = np.zeros((num_parts, 4), np.int64), np.zeros((num_parts, 2), np.int64)
        _count(elements, num_elements, ends[0], -ends[1], counted, outside)
        below, at_low, above, at_high = counted.sum(0)
        if below + at_low > rank and above + at_high > rank:
            break
        widening *= 4
    wanted = np.array([below > rank, above > rank])  # else the threshold itself has that rank
    if wanted.any():
        by_side = outside.T.ravel()  # all parts below, then all parts above
        places = np.ascontiguousarray((by_side.cumsum() - by_side).reshape(2, num_parts).T)
        values, counts = np.empty(by_side.sum(), np.float32), np.empty(by_side.sum(), np.int64)
        _collect(elements, num_elements, ends[0], -ends[1], places, values, counts)
        _select_sides(values, counts, int(outside[:, 0].sum()), rank, wanted, ends)
    return ends


def _range(elements: Elements, num_elements: int, tail: float, total: int) -> tuple[Tensor, Tensor]:
    """The range of elements that count `total` times in all."""
    rank = int(tail * total)
    if total == 0:
        low, high = INFINITY, -INFINITY
    elif rank == 0:
        ends = np.empty((parts(num_elements), 2), np.float32)
        _extremes(elements, num_elements, ends)
        low, high = ends[:, 0].min(), ends[:, 1].max()
    else:
        low, minus_high = _tails(elements, num_elements, tail, rank)
        high = -minus_high
    return torch.tensor(low), torch.tensor(high)


def tail_range(
    x: Tensor, tail: float, row_weight: Tensor | None = None, keep: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    num_elements = x.numel()
    if keep is not None:
        row_weight = (~keep).long() if row_weight is None else row_weight.masked_fill(keep, 0)
    if row_weight is None or num_elements == 0:  # one row
        return _range(
            (array(x), NO_INTEGERS, NO_FLOATS, NO_INTEGERS, 1, num_elements), num_elements, tail, num_elements
        )
    width = num_elements // x.size(0)
    total = int(row_weight.sum()) * width
    return _range((array(x), NO_INTEGERS, NO_FLOATS, array(row_weight), 1, width), num_elements, tail, total)


def message_range(
    csr: CSR, x: Tensor, weight: Tensor | None, tail: float, keep: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    if weight is None:
        return tail_range(x, tail, csr.out_degree, keep)
    heads, width = x[0].numel() // x.size(-1) if x.size(0) else 1, x.size(-1)
    count = None if keep is None else (~keep).long()
    edges = csr.num_edges if count is None else int((csr.out_degree * count).sum())
    elements = (array(x), array(csr.col), array(weight), optional(count, NO_INTEGERS), heads, width)
    return _range(elements, csr.num_edges * heads * width, tail, edges * heads * width)
