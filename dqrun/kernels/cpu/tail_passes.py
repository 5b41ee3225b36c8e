"""Passes over a multiset that `tails` makes: tasks that are compiled once each and called by their addresses."""

from __future__ import annotations

from typing import Any

import numpy as np

from dqrun.kernels.cpu import bits
from dqrun.kernels.cpu.elements import row_of
from dqrun.kernels.cpu.launch import inner, share
from dqrun.kernels.cpu.selection import HISTOGRAM, select
from dqrun.kernels.cpu.structure import BYTES, FLOATS, INTEGER, INTEGERS, REAL, Structure
from dqrun.kernels.cpu.task import advance, task

ALL = np.uint32(0xFFFFFFFF)

SOURCE = Structure(
    "Source",  # `Elements`
    x=FLOATS,
    source=INTEGERS,
    factor=FLOATS,
    count=INTEGERS,
    protected=BYTES,
    heads=INTEGER,
    width=INTEGER,
    has_source=INTEGER,
    has_factor=INTEGER,
    has_count=INTEGER,
    has_protected=INTEGER,
    size=INTEGER,  # elements, each row counted once
)
SAMPLE = Structure(
    "Sample",
    elements=SOURCE,
    multiset=INTEGER,  # how many elements count, or 0 where no row counts more than once
    wanted=INTEGER,
    values=FLOATS,  # [2, wanted]: the sample, and the same with their signs changed
    taken=INTEGERS,  # [1]: how many of them there are
)
OUTSIDE = Structure(
    "Outside",
    elements=SOURCE,
    low=REAL,
    high=REAL,
    values=FLOATS,  # [parts, 2, capacity]: what is below low, and what is above high with its sign changed,
    counts=INTEGERS,  # and how often each counts, if `counted`
    counted=INTEGER,
    capacity=INTEGER,
    found=INTEGERS,  # [parts, 4]: how many are below and above, and how often they count
)
EQUAL = Structure(
    "Equal",
    elements=SOURCE,
    low=REAL,
    high=REAL,
    low_wanted=INTEGER,
    high_wanted=INTEGER,
    found=INTEGERS,  # [parts, 2]: how often elements that equal low and high count
)
SIDE = Structure("Side", values=FLOATS, size=INTEGER, counts=INTEGERS, rank=INTEGER)
SIDES = Structure(
    "Sides",
    below=SIDE,
    above=SIDE,
    counted=INTEGER,  # whether values have counts
    histograms=INTEGERS,  # [2, HISTOGRAM], scratch
    ends=FLOATS,  # [2]: the results
)


@inner
def _row(e: Any, row: Any) -> tuple[Any, Any, Any]:
    """The start of a row in x, its factor, and how often it counts."""
    at = (e.x, e.source, e.factor, e.count, e.protected, e.heads, e.width)
    return row_of(at, (e.has_source != 0, e.has_factor != 0, e.has_count != 0, e.has_protected != 0), row)


@inner
def _scattered(i: int) -> float:
    """The i-th of a sequence that fills [0, 1) evenly (additive recurrence by the golden ratio)."""
    return float((i * 2654435769) & 0xFFFFFFFF) * 2.0**-32


@inner
def _sample_places(e: Any, values: Any, wanted: int) -> int:
    """Evenly spread elements, `wanted` of them; returns how many of them count, which come first."""
    taken = 0
    for i in range(wanted):
        place = np.int64(_scattered(i) * e.size)
        row = np.int64(place / e.width)  # exact, and a fraction of the time of an integer division
        first, factor, count = _row(e, row)
        if count > 0:
            values[taken] = e.x[first + place - row * e.width] * factor
            taken += 1
    return taken


@inner
def _sample_multiset(e: Any, total: int, values: Any, wanted: int) -> int:
    """As `_sample_places`, of rows that count several times: rows of an [N, ...] tensor, one from each stratum."""
    row, upto = -1, 0  # upto: number of elements of the multiset in the rows up to and including `row`
    stratum = total / wanted
    for i in range(wanted):
        place = np.int64((i + _scattered(i)) * stratum)
        while upto <= place:
            row += 1
            upto += 0 if e.has_protected and e.protected[row] != 0 else e.count[row] * e.width
        values[i] = e.x[row * e.width + (upto - 1 - place) % e.width]
    return wanted


@task(SAMPLE)
def sample(part: int, num_parts: int, a: Any) -> None:
    """Takes a sample, in one part: it has so few elements that another thread would not save time."""
    if a.multiset > 0:
        taken = _sample_multiset(a.elements, a.multiset, a.values, a.wanted)
    else:
        taken = _sample_places(a.elements, a.values, a.wanted)
    for i in range(taken):
        a.values[a.wanted + i] = -a.values[i]
    a.taken[0] = taken


@inner
def _append(
    a: Any, start: int, found: tuple[Any, Any], times: tuple[Any, Any], ends: Any, sizes: tuple[int, int]
) -> tuple[int, int]:
    """Stores factor * x[start + i] for each bit i found below and above, the latter with its sign changed.

    times: the factor, and how often each counts. ends: values and counts of both sides, filled from the positions
    `sizes` on; returns the new positions. A side that has reached the capacity is only counted. One loop stores on both
    sides, so that its end is the only unpredictable branch.
    """
    (below, above), (factor, count) = sizes, times
    word = np.uint32(found[0] | found[1])
    while word != 0:
        bit = np.uint32(bits.lowest(word))
        if below < a.capacity and above < a.capacity:
            value = a.elements.x[start + bit] * factor
            ends[0][below], ends[1][above] = value, -value
            if a.counted:
                ends[2][below], ends[3][above] = count, count
        below += (found[0] >> bit) & np.uint32(1)
        above += (found[1] >> bit) & np.uint32(1)
        word = np.uint32(word & np.uint32(word - np.uint32(1)))
    return below, above


@inner
def _last_word(start: int, end: int) -> tuple[int, Any]:
    """The start of a word of 32 elements that covers x[start:end], fewer than 32, and the mask of their bits."""
    place = max(0, end - bits.WORD)
    wanted = np.uint32(ALL << np.uint32(start - place))
    return place, np.uint32(wanted & np.uint32(ALL >> np.uint32(place + bits.WORD - end)))


@task(OUTSIDE)
def collect(part: int, num_parts: int, a: Any) -> None:
    """Collects the elements below low and above high in a part's share of the elements."""
    e, low, high = a.elements, np.float32(a.low), np.float32(a.high)
    start, stop = share(part, num_parts, e.size)
    values = advance(a.values, 2 * part * a.capacity)
    counts = advance(a.counts, 2 * part * a.capacity if a.counted else 0)
    ends = (values, advance(values, a.capacity), counts, advance(counts, a.capacity if a.counted else 0))
    below, above, below_times, above_times = 0, 0, 0, 0
    row = start // e.width
    while start < stop:
        first, factor, count = _row(e, row)
        end = min(stop, (row + 1) * e.width)
        counts_at_all = ALL if count > 0 else np.uint32(0)  # skipping a row would interrupt the prefetcher
        was_below, was_above = below, above
        place = first + start - row * e.width
        last = place + end - start
        while place < last:
            wanted, word = ALL, place
            if place + bits.WORD > last:
                word, wanted = _last_word(place, last)
            wanted = np.uint32(wanted & counts_at_all)
            found_below = np.uint32(bits.below(e.x, word, factor, low) & wanted)
            found_above = np.uint32(bits.above(e.x, word, factor, high) & wanted)
            if found_below | found_above:
                below, above = _append(a, word, (found_below, found_above), (factor, count), ends, (below, above))
            place += bits.WORD
        below_times += (below - was_below) * count
        above_times += (above - was_above) * count
        row, start = row + 1, end
    at = 4 * part
    a.found[at], a.found[at + 1], a.found[at + 2], a.found[at + 3] = below, above, below_times, above_times


@task(EQUAL)
def count_equal(part: int, num_parts: int, a: Any) -> None:
    """Counts elements equal to low and to high; a part stops when it has enough of both, soon if most are zero."""
    e, low, high = a.elements, np.float32(a.low), np.float32(a.high)
    start, stop = share(part, num_parts, e.size)
    at_low, at_high = 0, 0
    row = start // e.width
    while start < stop and (at_low < a.low_wanted or at_high < a.high_wanted):
        first, factor, count = _row(e, row)
        end = min(stop, (row + 1) * e.width)
        place = first + start - row * e.width
        last = place + end - start
        while count > 0 and place < last and (at_low < a.low_wanted or at_high < a.high_wanted):
            wanted, word = ALL, place
            if place + bits.WORD > last:
                word, wanted = _last_word(place, last)
            at_low += bits.count(np.uint32(bits.equal(e.x, word, factor, low) & wanted)) * count
            at_high += bits.count(np.uint32(bits.equal(e.x, word, factor, high) & wanted)) * count
            place += bits.WORD
        row, start = row + 1, end
    a.found[2 * part], a.found[2 * part + 1] = at_low, at_high


@task(SIDES)
def select_side(part: int, num_parts: int, a: Any) -> None:
    """Selects the element of the wanted rank on each side, if it has one: part 0 below low, part 1 above high."""
    side = a.below if part == 0 else a.above
    if side.size:
        histogram = advance(a.histograms, part * HISTOGRAM)
        a.ends[part] = select(side.values, side.size, side.counts, a.counted, histogram, side.rank)
