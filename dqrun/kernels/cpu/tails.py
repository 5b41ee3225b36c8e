"""`tails`: the elements of a given rank from both ends of a multiset.

Two thresholds guessed from a sample put slightly more than the asked tails outside. One pass collects what lies
outside, a radix selection among the collected ends the search. Where that is too little a second pass counts what
equals a threshold, as many zeros do, no further than needed. A guess that was too tight is widened, at last to
everything, so the result never depends on the sample. A range that can only widen is its own guess: mostly the pass
finds too little outside it, and no more is to be done.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange

from dqrun.kernels.cpu import bits
from dqrun.kernels.cpu.elements import Elements, present, row_of
from dqrun.kernels.cpu.launch import Array, driver, inner, parts, region, share
from dqrun.kernels.cpu.pointers import pointers
from dqrun.kernels.cpu.selection import select

SMALLEST_SAMPLE, LARGEST_SAMPLE = 1024, 8192  # of 128th parts, so that it costs a fraction of the pass
INFINITY, ALL = np.float32(np.inf), np.uint32(0xFFFFFFFF)


@inner
def _scattered(i: int) -> float:
    """The i-th of a sequence that fills [0, 1) evenly (additive recurrence by the golden ratio)."""
    return float((i * 2654435769) & 0xFFFFFFFF) * 2.0**-32


@inner
def _sample_places(elements: Elements, num_elements: int, values: Array) -> int:
    """As many evenly spread elements as values holds; returns how many of them count, which come first."""
    at, has = pointers(elements), present(elements)
    x, width = at[0], at[6]
    taken = 0
    for i in range(values.size):
        place = np.int64(_scattered(i) * num_elements)
        row = np.int64(place / width)  # exact, and a fraction of the time of an integer division
        first, factor, count = row_of(at, has, row)
        if count > 0:
            values[taken] = x[first + place - row * width] * factor
            taken += 1
    return taken


@inner
def _sample_multiset(elements: Elements, total: int, values: Array) -> int:
    """As `_sample_places`, of rows that count several times: rows of an [N, ...] tensor, one from each stratum."""
    x, _, _, count, protected, _, width = pointers(elements)
    has_protected = elements[4].size > 0
    row, upto = -1, 0  # elements of the multiset in the rows up to this one
    stratum = total / values.size
    for i in range(values.size):
        place = np.int64((i + _scattered(i)) * stratum)
        while upto <= place:
            row += 1
            upto += 0 if has_protected and protected[row] != 0 else count[row] * width
        values[i] = x[row * width + (upto - 1 - place) % width]
    return values.size


@region
def _guess(elements: Elements, num_elements: int, multiset: int, tail: float, widening: float, guesses: Array) -> float:
    """Values with more than the asked tails outside, as far as a sample can tell; returns the share aimed at.

    Into guesses [2]: the lower one, and the upper one with its sign changed. multiset: how many elements count, or 0
    where no row counts more than once.
    """
    values = np.empty((2, max(SMALLEST_SAMPLE, min(LARGEST_SAMPLE, num_elements // 128))), np.float32)
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
def _append(
    x: Any,
    start: int,
    found: tuple[Any, Any],
    factor: Any,
    count: int,
    values: tuple[Any, Any],
    counts: tuple[Any, Any],
    sizes: tuple[int, int],
    capacity: int,
    counted: Any,
) -> tuple[int, int]:
    """Stores factor * x[start + i] for each bit i found below and above, the latter with its sign changed.

    From the places `sizes` on, which are returned as they are after it; counted: how often each counts, too. Arrays are
    pointers. Where a side has reached the capacity it only counts. One loop stores on both sides and keeps what was
    found, so that its end is the only branch that can't be foreseen.
    """
    below, above = sizes
    word = np.uint32(found[0] | found[1])
    while word != 0:
        bit = np.uint32(bits.lowest(word))
        if below < capacity and above < capacity:
            value = x[start + bit] * factor
            values[0][below], values[1][above] = value, -value
            if counted:
                counts[0][below], counts[1][above] = count, count
        below += (found[0] >> bit) & np.uint32(1)
        above += (found[1] >> bit) & np.uint32(1)
        word = np.uint32(word & np.uint32(word - np.uint32(1)))
    return below, above


@inner
def _last_word(start: int, end: int) -> tuple[int, Any]:
    """Where to read a word that covers x[start:end], fewer than 32 elements, and which of its bits are meant."""
    place = max(0, end - bits.WORD)
    wanted = np.uint32(ALL << np.uint32(start - place))
    return place, np.uint32(wanted & np.uint32(ALL >> np.uint32(place + bits.WORD - end)))


@region
def _collect(
    elements: Elements, num_elements: int, low: Any, high: Any, values: Array, counts: Array, found: Array
) -> None:
    """What is outside, of each part: into values and counts [parts, 2, capacity], those above with their sign changed.

    found [parts, 4]: how many are below and above, and how often they count.
    """
    at, has = pointers(elements), present(elements)
    x, width = at[0], at[6]
    num_parts, capacity, counted = values.shape[0], values.shape[2], counts.shape[2] > 0
    for part in prange(num_parts):
        start, stop = share(part, num_parts, num_elements)
        ends = pointers((values[part, 0], values[part, 1], counts[part, 0], counts[part, 1]))
        below, above, below_times, above_times = 0, 0, 0, 0
        row = start // width
        while start < stop:
            first, factor, count = row_of(at, has, row)
            end = min(stop, (row + 1) * width)
            counts_at_all = ALL if count > 0 else np.uint32(0)  # a row skipped would end the processor's prefetching
            was_below, was_above = below, above
            place = first + start - row * width
            last = place + end - start
            while place < last:
                wanted, word = ALL, place
                if place + bits.WORD > last:
                    word, wanted = _last_word(place, last)
                wanted = np.uint32(wanted & counts_at_all)
                found_below = np.uint32(bits.below(x, word, factor, low) & wanted)
                found_above = np.uint32(bits.above(x, word, factor, high) & wanted)
                if found_below | found_above:
                    flags, sizes = (found_below, found_above), (below, above)
                    below, above = _append(x, word, flags, factor, count, ends[:2], ends[2:], sizes, capacity, counted)
                place += bits.WORD
            below_times += (below - was_below) * count
            above_times += (above - was_above) * count
            row, start = row + 1, end
        found[part, 0], found[part, 1], found[part, 2], found[part, 3] = below, above, below_times, above_times


@region
def _count_equal(
    elements: Elements, num_elements: int, low: Any, high: Any, low_wanted: Any, high_wanted: Any, equal: Array
) -> None:
    """How often elements that equal low and high count, of each part: into equal [parts, 2].

    A part counts no further when it has as many as are wanted of both, which is soon where most elements are zero.
    """
    at, has = pointers(elements), present(elements)
    x, width = at[0], at[6]
    num_parts = equal.shape[0]
    for part in prange(num_parts):
        start, stop = share(part, num_parts, num_elements)
        at_low, at_high = 0, 0
        row = start // width
        while start < stop and (at_low < low_wanted or at_high < high_wanted):
            first, factor, count = row_of(at, has, row)
            end = min(stop, (row + 1) * width)
            place = first + start - row * width
            last = place + end - start
            while count > 0 and place < last and (at_low < low_wanted or at_high < high_wanted):
                wanted, word = ALL, place
                if place + bits.WORD > last:
                    word, wanted = _last_word(place, last)
                at_low += bits.count(np.uint32(bits.equal(x, word, factor, low) & wanted)) * count
                at_high += bits.count(np.uint32(bits.equal(x, word, factor, high) & wanted)) * count
                place += bits.WORD
            row, start = row + 1, end
        equal[part, 0], equal[part, 1] = at_low, at_high


@region
def _select_sides(
    below: Array,
    below_counts: Array,
    above: Array,
    above_counts: Array,
    ranks: tuple[Any, Any],
    wanted: tuple[Any, Any],
    ends: Array,
) -> None:
    """The element of its rank among those below and among those above, for the sides that are wanted."""
    for side in prange(2):
        if wanted[side]:
            ends[side] = select(below, below_counts, ranks[0]) if side == 0 else select(above, above_counts, ranks[1])


@inner
def _joined(collected: Array, found: Array, side: int) -> Array:
    """What all parts have collected on one side; `found` [parts, ...]: how much each has."""
    total = 0
    for part in range(found.shape[0]):
        total += found[part, side]
    joined = np.empty(total if collected.shape[2] else 0, collected.dtype)
    place = 0
    for part in range(found.shape[0]):
        for i in range(found[part, side] if joined.size else 0):
            joined[place] = collected[part, side, i]
            place += 1
    return joined


@inner
def _outside(
    elements: Elements, num_elements: int, low: Any, high: Any, capacity: Any, repeated: bool, found: Array
) -> tuple[Array, Array]:
    """`_collect` into new memory."""
    values = np.empty((found.shape[0], 2, capacity), np.float32)
    counts = np.empty((found.shape[0], 2, capacity if repeated else 0), np.int64)
    _collect(elements, num_elements, low, high, values, counts, found)
    return values, counts


@inner
def _totals(found: Array) -> tuple[Any, Any, Any]:
    """Of what `_collect` found: the most on one side of a part, and how often all below and all above count."""
    largest, below, above = 0, 0, 0
    for part in range(found.shape[0]):
        largest = max(largest, found[part, 0], found[part, 1])
        below += found[part, 2]
        above += found[part, 3]
    return largest, below, above


@inner
def _replace(
    values: Array, counts: Array, found: Array, ranks: tuple[Any, Any], wanted: tuple[Any, Any], ends: Array
) -> None:
    """Puts the collected element of each side's rank into ends, for the sides that are wanted."""
    if wanted[0] or wanted[1]:
        below, above = _joined(values, found, 0), _joined(values, found, 1)
        _select_sides(below, _joined(counts, found, 0), above, _joined(counts, found, 1), ranks, wanted, ends)


@driver
def _search(
    elements: Elements,
    num_elements: int,
    total: int,
    tail: float,
    ranks: tuple[int, int],
    repeated: bool,
    num_parts: int,
    ends: Array,
) -> None:
    """`tails`, from and into ends. One kernel, for the way into each takes as long as the work on a small tensor."""
    found, equal = np.empty((num_parts, 4), np.int64), np.zeros((num_parts, 2), np.int64)
    seen_low, seen_high = ends[0], -ends[1]
    if seen_low <= seen_high:
        capacity: Any = 2 * min(max(ranks[0], ranks[1]), num_elements) + SMALLEST_SAMPLE
        values, counts = _outside(elements, num_elements, seen_low, seen_high, capacity, repeated, found)
        largest, below, above = _totals(found)
        if largest < capacity:
            _replace(values, counts, found, ranks, (below > ranks[0], above > ranks[1]), ends)
            return
    ends[0] = ends[1] = INFINITY  # everything is outside
    widening, guessing = 1.0, num_elements > LARGEST_SAMPLE
    capacity = num_elements + 1
    while True:
        if guessing:
            share_outside = _guess(elements, num_elements, total if repeated else 0, tail, widening, ends)
            capacity = np.int64(num_elements / num_parts * min(1.0, 1.5 * share_outside)) + SMALLEST_SAMPLE
        values, counts = _outside(elements, num_elements, ends[0], -ends[1], capacity, repeated, found)
        largest, below, above = _totals(found)
        enough = below > ranks[0] and above > ranks[1]
        if not enough:  # many elements may equal a threshold, as zeros do after a ReLU
            missing = ranks[0] + 1 - below, ranks[1] + 1 - above
            _count_equal(elements, num_elements, ends[0], -ends[1], *missing, equal)
            enough = below + equal[:, 0].sum() > ranks[0] and above + equal[:, 1].sum() > ranks[1]
        if enough and largest < capacity:
            break
        if not enough and min(ends[0], ends[1]) == INFINITY:  # everything was looked at: some of it is NaN
            ends[0] = ends[1] = np.nan
            return
        guessing, capacity = not enough, max(capacity, largest + 1)
        widening *= 4.0 if guessing else 1.0
    _replace(values, counts, found, ranks, (below > ranks[0], above > ranks[1]), ends)  # else a threshold has it


def tails(
    elements: Elements,
    num_elements: int,
    total: int,
    tail: float,
    ranks: tuple[int, int],
    repeated: bool,
    seen: tuple[Any, Any],
) -> Array:
    """The elements of two ranks (from 0), from below and from above, the latter with its sign changed, float32 [2].

    total: how many elements count; `repeated`: some more than once. tail: about ranks / total, for the first guess.
    seen: a range so far, (+inf, -inf) if none. An end of it may be returned instead of an element that lies inside.
    """
    if elements[0].size < bits.WORD:  # lest a word reach beyond the memory
        elements = (np.resize(elements[0], bits.WORD), *elements[1:])
    ends = np.array((seen[0], -seen[1]), np.float32)
    _search(elements, num_elements, total, tail, ranks, repeated, parts(num_elements), ends)
    return ends
