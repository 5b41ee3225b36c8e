"""`tails`: the elements of a given rank from both ends of a multiset.

Two thresholds guessed from a sample put slightly more than the asked tails outside. One pass collects what lies
outside and counts what equals a threshold; a radix selection among the collected ends the search. A guess that was too
tight is widened, at last to everything, so the result never depends on the sample.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numba import prange

from dqrun.kernels.cpu import bits
from dqrun.kernels.cpu.elements import Elements, row_of
from dqrun.kernels.cpu.launch import NO_INTEGERS, Array, inner, kernel, parts, scratch, share
from dqrun.kernels.cpu.selection import select

SAMPLE = 8192
INFINITY = np.float32(np.inf)


@inner
def _sample_places(elements: Elements, num_elements: int, values: Array) -> int:
    """One element of each of SAMPLE strata; returns how many of them count, which come first in values."""
    taken, width = 0, elements[5]
    for i in range(SAMPLE):
        start, stop = share(i, SAMPLE, num_elements)
        start += (i * 2654435761 >> 7) % (stop - start)  # scattered, lest the stride meet the width of a row
        first, factor, count = row_of(elements, start // width)
        if count > 0:
            values[taken] = elements[0][first + start % width] * factor
            taken += 1
    return taken


@inner
def _sample_multiset(elements: Elements, total: int, values: Array) -> int:
    """As `_sample_places`, of rows that count several times: rows of an [N, ...] tensor."""
    x, _, _, count, _, width = elements
    row, upto = -1, 0  # elements of the multiset in the rows up to this one
    for i in range(SAMPLE):
        start, stop = share(i, SAMPLE, total)
        place = start + (i * 2654435761 >> 7) % max(1, stop - start)
        while upto <= place:
            row += 1
            upto += count[row] * width
        values[i] = x[row * width + (upto - 1 - place) % width]
    return SAMPLE


@kernel
def _guess(elements: Elements, num_elements: int, multiset: int, tail: float, widening: float, guesses: Array) -> float:
    """Values with more than the asked tails outside, as far as a sample can tell; returns the share aimed at.

    Into guesses [2]: the lower one, and the upper one with its sign changed. multiset: how many elements count, or 0
    where no row counts more than once.
    """
    values = np.empty((2, SAMPLE), np.float32)
    if multiset > 0:
        size = _sample_multiset(elements, multiset, values[0])
    else:
        size = _sample_places(elements, num_elements, values[0])
    for i in range(size):
        values[1, i] = -values[0, i]
    rank = np.int64(size * tail + widening * (4 * np.sqrt(size * tail) + 8))
    for side in prange(2):
        guesses[side] = select(values[side, :size], NO_INTEGERS, rank) if rank < size else INFINITY
    return rank / max(size, 1)


@inner
def _append(x: Array, start: int, word: Any, factor: Any, count: int, values: Array, counts: Array, size: int) -> int:
    """Stores factor * x[start + i] for each bit i of word, from place `size` on; beyond the capacity it only counts."""
    while word != 0:
        if size < values.size:
            values[size] = x[start + bits.lowest(word)] * factor
            if counts.size:
                counts[size] = count
        size += 1
        word = np.uint32(word & np.uint32(word - np.uint32(1)))
    return size


@inner
def _scan(
    x: Array, start: int, end: int, factor: Any, count: int, low: Any, high: Any,
    values: Array, counts: Array, below: int, above: int,
) -> tuple[int, int, int, int]:  # fmt: skip
    """Appends what is outside among x[start:end] to values [2, capacity], and how often it counts.

    Returns the places after those appended, and how many equal low and high.
    """
    at_low, at_high = 0, 0
    while start + bits.WORD <= end:
        at_low += bits.count(bits.equal(x, start, factor, low))
        at_high += bits.count(bits.equal(x, start, factor, high))
        below = _append(x, start, bits.below(x, start, factor, low), factor, count, values[0], counts[0], below)
        above = _append(x, start, bits.above(x, start, factor, high), -factor, count, values[1], counts[1], above)
        start += bits.WORD
    for i in range(start, end):
        value = x[i] * factor
        at_low += value == low
        at_high += value == high
        below = _append(x, i, np.uint32(value < low), factor, count, values[0], counts[0], below)
        above = _append(x, i, np.uint32(value > high), -factor, count, values[1], counts[1], above)
    return below, above, at_low, at_high


@kernel
def _collect(
    elements: Elements, num_elements: int, low: Any, high: Any, values: Array, counts: Array, found: Array
) -> None:
    """What is outside, of each part: into values and counts [parts, 2, capacity], those above with their sign changed.

    found [parts, 6]: how many are below and above, and how often those below, at low, above and at high count.
    """
    num_parts = values.shape[0]
    for part in prange(num_parts):
        start, stop = share(part, num_parts, num_elements)
        below, above = 0, 0
        times = found[part, 2:]
        times[:] = 0
        row, width = start // elements[5], elements[5]
        while start < stop:
            first, factor, count = row_of(elements, row)
            end = min(stop, (row + 1) * width)
            if count > 0:
                first += start - row * width
                was_below, was_above, last = below, above, first + end - start
                below, above, at_low, at_high = _scan(
                    elements[0], first, last, factor, count, low, high, values[part], counts[part], below, above
                )
                times[0] += (below - was_below) * count
                times[1] += at_low * count
                times[2] += (above - was_above) * count
                times[3] += at_high * count
            row, start = row + 1, end
        found[part, 0], found[part, 1] = below, above


@kernel
def _select_sides(
    below: Array, below_counts: Array, above: Array, above_counts: Array, rank: int, wanted: Array, ends: Array
) -> None:
    """The element of that rank among those below and among those above, for the sides that are wanted."""
    for side in prange(2):
        if wanted[side]:
            ends[side] = select(below, below_counts, rank) if side == 0 else select(above, above_counts, rank)


def tails(elements: Elements, num_elements: int, total: int, tail: float, repeated: bool) -> Array:
    """The elements of rank floor(tail * total) from below and from above, the latter with its sign changed [2].

    total: how many elements count; `repeated`: some count more than once.
    """
    num_parts, rank, widening = parts(num_elements), int(tail * total), 1.0
    ends, found = np.full(2, INFINITY), np.empty((num_parts, 6), np.int64)  # everything is outside
    capacity, guessing = num_elements, num_elements > SAMPLE
    while True:
        if guessing:
            share_outside = _guess(elements, num_elements, total if repeated else 0, tail, widening, ends)
            capacity = int(num_elements / num_parts * min(1.0, 1.5 * share_outside)) + SAMPLE
        values = scratch((num_parts, 2, capacity), torch.float32)
        counts = scratch((num_parts, 2, capacity if repeated else 0), torch.int64)
        _collect(elements, num_elements, ends[0], -ends[1], values, counts, found)
        below, at_low, above, at_high = found[:, 2:].sum(0)
        enough = below + at_low > rank and above + at_high > rank
        if enough and found[:, :2].max() <= capacity:
            break
        widening *= 1 if enough else 4
        capacity, guessing = int(found[:, :2].max()), not enough
    wanted = np.array([below > rank, above > rank])  # else the threshold itself has that rank
    if wanted.any():
        collected = [
            np.concatenate([kind[part, side, : found[part, side]] for part in range(num_parts)])
            for side in range(2)
            for kind in (values, counts)
        ]
        _select_sides(*collected, rank, wanted, ends)
    return ends
