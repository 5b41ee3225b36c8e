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
from dqrun.kernels.cpu.launch import Array, inner, kernel, parts, scratch, share
from dqrun.kernels.cpu.selection import select

SMALLEST_SAMPLE, LARGEST_SAMPLE = 1024, 8192  # of 256th parts, so that it costs a fraction of the pass
INFINITY, ALL = np.float32(np.inf), np.uint32(0xFFFFFFFF)


@inner
def _sample_places(elements: Elements, num_elements: int, values: Array) -> int:
    """One element of each of as many strata as values holds; returns how many count, which come first."""
    taken, width = 0, elements[6]
    for i in range(values.size):
        start, stop = share(i, values.size, num_elements)
        start += (i * 2654435761 >> 7) % (stop - start)  # scattered, lest the stride meet the width of a row
        first, factor, count = row_of(elements, start // width)
        if count > 0:
            values[taken] = elements[0][first + start % width] * factor
            taken += 1
    return taken


@inner
def _sample_multiset(elements: Elements, total: int, values: Array) -> int:
    """As `_sample_places`, of rows that count several times: rows of an [N, ...] tensor."""
    x, _, _, count, keep, _, width = elements
    row, upto = -1, 0  # elements of the multiset in the rows up to this one
    for i in range(values.size):
        start, stop = share(i, values.size, total)
        place = start + (i * 2654435761 >> 7) % max(1, stop - start)
        while upto <= place:
            row += 1
            upto += 0 if keep.size and keep[row] else count[row] * width
        values[i] = x[row * width + (upto - 1 - place) % width]
    return values.size


@kernel
def _guess(elements: Elements, num_elements: int, multiset: int, tail: float, widening: float, guesses: Array) -> float:
    """Values with more than the asked tails outside, as far as a sample can tell; returns the share aimed at.

    Into guesses [2]: the lower one, and the upper one with its sign changed. multiset: how many elements count, or 0
    where no row counts more than once.
    """
    values = np.empty((2, max(SMALLEST_SAMPLE, min(LARGEST_SAMPLE, num_elements // 256))), np.float32)
    if multiset > 0:
        size = _sample_multiset(elements, multiset, values[0])
    else:
        size = _sample_places(elements, num_elements, values[0])
    for i in range(size):
        values[1, i] = -values[0, i]
    once = np.empty(0, np.int64)
    rank = np.int64(size * tail + widening * (3 * np.sqrt(size * tail) + 4))
    for side in prange(2):
        guesses[side] = select(values[side, :size], once, rank) if rank < size else INFINITY
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
def _last_word(x: Array, start: int, end: int) -> tuple[int, Any]:
    """Where to read a word that covers x[start:end], fewer than 32 elements, and which of its bits are meant."""
    place = max(0, end - bits.WORD)
    wanted = np.uint32(ALL << np.uint32(start - place))
    return place, np.uint32(wanted & np.uint32(ALL >> np.uint32(place + bits.WORD - end)))


@kernel
def _collect(
    elements: Elements, num_elements: int, low: Any, high: Any, values: Array, counts: Array, found: Array
) -> None:
    """What is outside, of each part: into values and counts [parts, 2, capacity], those above with their sign changed.

    found [parts, 4]: how many are below and above, and how often they count.
    """
    x, width, num_parts = elements[0], elements[6], values.shape[0]
    for part in prange(num_parts):
        start, stop = share(part, num_parts, num_elements)
        below_values, above_values = values[part, 0], values[part, 1]  # here: a slice costs as much as a few words
        below_counts, above_counts = counts[part, 0], counts[part, 1]
        below, above, below_times, above_times = 0, 0, 0, 0
        row = start // width
        while start < stop:
            first, factor, count = row_of(elements, row)
            end = min(stop, (row + 1) * width)
            if count > 0:
                was_below, was_above = below, above
                place = first + start - row * width
                last = place + end - start
                while place < last:
                    wanted, word = ALL, place
                    if place + bits.WORD > last:
                        word, wanted = _last_word(x, place, last)
                    found_below = np.uint32(bits.below(x, word, factor, low) & wanted)
                    found_above = np.uint32(bits.above(x, word, factor, high) & wanted)
                    if found_below:
                        below = _append(x, word, found_below, factor, count, below_values, below_counts, below)
                    if found_above:
                        above = _append(x, word, found_above, -factor, count, above_values, above_counts, above)
                    place += bits.WORD
                below_times += (below - was_below) * count
                above_times += (above - was_above) * count
            row, start = row + 1, end
        found[part, 0], found[part, 1], found[part, 2], found[part, 3] = below, above, below_times, above_times


@kernel
def _count_equal(elements: Elements, num_elements: int, low: Any, high: Any, equal: Array) -> None:
    """How often elements that equal low and high count, of each part: into equal [parts, 2]."""
    x, width, num_parts = elements[0], elements[6], equal.shape[0]
    for part in prange(num_parts):
        start, stop = share(part, num_parts, num_elements)
        at_low, at_high = 0, 0
        row = start // width
        while start < stop:
            first, factor, count = row_of(elements, row)
            end = min(stop, (row + 1) * width)
            place = first + start - row * width
            last = place + end - start
            while count > 0 and place < last:
                wanted, word = ALL, place
                if place + bits.WORD > last:
                    word, wanted = _last_word(x, place, last)
                at_low += bits.count(np.uint32(bits.equal(x, word, factor, low) & wanted)) * count
                at_high += bits.count(np.uint32(bits.equal(x, word, factor, high) & wanted)) * count
                place += bits.WORD
            row, start = row + 1, end
        equal[part, 0], equal[part, 1] = at_low, at_high


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
    if elements[0].size < bits.WORD:  # lest a word reach beyond the memory
        elements = (np.resize(elements[0], bits.WORD), *elements[1:])
    num_parts, rank = parts(num_elements), int(tail * total)
    ends, found, equal = np.full(2, INFINITY), np.empty((num_parts, 4), np.int64), np.empty((num_parts, 2), np.int64)
    widening, capacity, guessing = 1.0, num_elements, num_elements > LARGEST_SAMPLE  # unless: everything is outside
    while True:
        if guessing:
            share_outside = _guess(elements, num_elements, total if repeated else 0, tail, widening, ends)
            capacity = int(num_elements / num_parts * min(1.0, 1.5 * share_outside)) + SMALLEST_SAMPLE
        values = scratch((num_parts, 2, capacity), torch.float32)
        counts = scratch((num_parts, 2, capacity if repeated else 0), torch.int64)
        _collect(elements, num_elements, ends[0], -ends[1], values, counts, found)
        _, _, below, above = found.sum(0)
        enough = below > rank and above > rank
        if not enough:  # many elements may equal a threshold, as zeros do after a ReLU
            _count_equal(elements, num_elements, ends[0], -ends[1], equal)
            at_low, at_high = equal.sum(0)
            enough = below + at_low > rank and above + at_high > rank
        if enough and found[:, :2].max() <= capacity:
            break
        guessing, capacity = not enough, max(capacity, int(found[:, :2].max()))
        widening *= 4 if guessing else 1
    wanted = np.array([below > rank, above > rank])  # else the threshold itself has that rank
    if wanted.any():
        collected = [
            np.concatenate([kind[part, side, : found[part, side]] for part in range(num_parts)])
            for side in range(2)
            for kind in (values, counts)
        ]
        _select_sides(*collected, rank, wanted, ends)
    return ends
