"""`tails`: the elements of a given rank from both ends of a multiset.

Two thresholds, guessed from a sample, leave slightly more than the wanted tails outside. One pass collects the elements
outside, and a radix selection among them gives the result. If too few are outside, a second pass counts elements equal
to a threshold (often many zeros), only as far as needed. If still too few are found, the guess is widened, in the end
to all elements, so that the result never depends on the sample. An earlier range that can only widen is used as the
guess: mostly too few elements are outside it, and the search ends.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dqrun.kernels.cpu import bits
from dqrun.kernels.cpu.elements import Elements
from dqrun.kernels.cpu.launch import Array, driver, inner, parts
from dqrun.kernels.cpu.pointers import hold
from dqrun.kernels.cpu.routine import call, runner
from dqrun.kernels.cpu.selection import HISTOGRAM
from dqrun.kernels.cpu.structure import filled
from dqrun.kernels.cpu.tail_passes import (
    EQUAL,
    OUTSIDE,
    SAMPLE,
    SIDE,
    SIDES,
    SOURCE,
    collect,
    count_equal,
    sample,
    select_side,
)

SMALLEST_SAMPLE, LARGEST_SAMPLE = 1024, 8192  # limits of a sample of 1/128 of the elements
INFINITY = np.float32(np.inf)

Passes = tuple[int, int, int, int, int]  # addresses of the loop over parts, sample, collect, count_equal, select_side


@inner
def _source(elements: Elements, num_elements: int) -> Any:
    """The values of the fields of `SOURCE`."""
    x, source, factor, count, protected, heads, width = elements
    has = (source.size > 0, factor.size > 0, count.size > 0, protected.size > 0)
    return x, source, factor, count, protected, heads, width, *has, num_elements


@inner
def _select_sides(
    values: tuple[Array, Array],
    counts: tuple[Array, Array],
    ranks: Any,
    counted: bool,
    ends: Array,
    passes: tuple[int, int],
) -> None:
    """Selects the elements of the wanted ranks among those below and those above, into ends, for non-empty sides.

    passes: the addresses of the loop over parts and of select_side.
    """
    histograms = np.empty(2 * HISTOGRAM, np.int64)
    below = filled(SIDE, (values[0], values[0].size, counts[0], ranks[0]))
    above = filled(SIDE, (values[1], values[1].size, counts[1], ranks[1]))
    call(passes[0], (passes[1], 2, filled(SIDES, (below, above, counted, histograms, ends))))
    hold((histograms, values[0], values[1], counts[0], counts[1]))


@inner
def _guess(
    source: int,
    num_elements: int,
    multiset: int,
    tail: float,
    widening: float,
    guesses: Array,
    passes: tuple[int, int, int],
) -> Any:
    """Thresholds with more than the wanted tails outside, estimated from a sample; returns the intended share outside.

    Into guesses [2]: the lower one, and the upper one with its sign changed. multiset: how many elements count, or 0
    where no row counts more than once. passes: the addresses of the loop over parts, sample and select_side.
    """
    wanted = max(SMALLEST_SAMPLE, min(LARGEST_SAMPLE, num_elements // 128))
    values, taken, once = np.empty((2, wanted), np.float32), np.empty(1, np.int64), np.empty(0, np.int64)
    call(passes[0], (passes[1], 1, filled(SAMPLE, (source, multiset, wanted, values, taken))))
    size = taken[0]
    rank = np.int64(size * tail + widening * (3 * np.sqrt(size * tail) + 4))
    if rank < size:
        _select_sides(
            (values[0, :size], values[1, :size]), (once, once), (rank, rank), False, guesses, (passes[0], passes[2])
        )
    else:
        guesses[0] = guesses[1] = INFINITY
    return rank / max(size, 1)


@inner
def _joined(collected: Array, found: Array, side: int, wanted: bool) -> Array:
    """The elements that all parts have collected on one side, if `wanted`; `found` [parts, ...]: their numbers."""
    total = 0
    for part in range(found.shape[0]):
        total += found[part, side]
    joined = np.empty(total if wanted and collected.shape[2] else 0, collected.dtype)
    place = 0
    for part in range(found.shape[0]):
        for i in range(found[part, side] if joined.size else 0):
            joined[place] = collected[part, side, i]
            place += 1
    return joined


@inner
def _totals(found: Array) -> tuple[Any, Any, Any]:
    """From the counts of `collect`: the largest of one side of a part, and the totals below and above."""
    largest, below, above = 0, 0, 0
    for part in range(found.shape[0]):
        largest = max(largest, found[part, 0], found[part, 1])
        below += found[part, 2]
        above += found[part, 3]
    return largest, below, above


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
    passes: Passes,
) -> None:
    """`tails`, from and into ends. It is one kernel, because a call takes as long as the work on a small tensor.

    It calls each function in one place only, because every call is inlined.
    """
    source = filled(SOURCE, _source(elements, num_elements))
    loop, sample_at, collect_at, count_at, select_at = passes
    found, equal = np.empty((num_parts, 4), np.int64), np.empty((num_parts, 2), np.int64)
    is_seen = ends[0] <= -ends[1]
    widening, guessing = 1.0, num_elements > LARGEST_SAMPLE
    capacity: Any = num_elements + 1
    if is_seen:
        capacity = 2 * min(max(ranks[0], ranks[1]), num_elements) + SMALLEST_SAMPLE
    else:
        ends[0] = ends[1] = INFINITY  # everything is outside
    while True:
        if guessing and not is_seen:
            multiset = total if repeated else 0
            share_outside = _guess(source, num_elements, multiset, tail, widening, ends, (loop, sample_at, select_at))
            capacity = np.int64(num_elements / num_parts * min(1.0, 1.5 * share_outside)) + SMALLEST_SAMPLE
        low, high = ends[0], -ends[1]
        values = np.empty((num_parts, 2, capacity), np.float32)
        counts = np.empty((num_parts, 2, capacity if repeated else 0), np.int64)
        outside = filled(OUTSIDE, (source, low, high, values, counts, repeated, capacity, found))
        call(loop, (collect_at, num_parts, outside))
        largest, below, above = _totals(found)
        if is_seen:
            if largest < capacity:
                break
            is_seen, capacity = False, num_elements + 1
            ends[0] = ends[1] = INFINITY
            continue
        enough = below > ranks[0] and above > ranks[1]
        if not enough:  # many elements may equal a threshold, such as zeros after a ReLU
            missing = ranks[0] + 1 - below, ranks[1] + 1 - above
            call(loop, (count_at, num_parts, filled(EQUAL, (source, low, high, *missing, equal))))
            at_low, at_high = 0, 0
            for part in range(num_parts):
                at_low, at_high = at_low + equal[part, 0], at_high + equal[part, 1]
            enough = at_low >= missing[0] and at_high >= missing[1]
        if enough and largest < capacity:
            break
        if not enough and min(ends[0], ends[1]) == INFINITY:  # everything was looked at: some of it is NaN
            ends[0] = ends[1] = np.nan
            return
        guessing, capacity = not enough, max(capacity, largest + 1)
        widening *= 4.0 if guessing else 1.0
    wanted = below > ranks[0], above > ranks[1]  # else a threshold has the rank
    if wanted[0] or wanted[1]:
        joined = _joined(values, found, 0, wanted[0]), _joined(values, found, 1, wanted[1])
        times = _joined(counts, found, 0, wanted[0]), _joined(counts, found, 1, wanted[1])
        _select_sides(joined, times, ranks, repeated, ends, (loop, select_at))
    hold((values, counts, found, equal))


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
    if elements[0].size < bits.WORD:  # else a word would reach beyond the memory
        elements = (np.resize(elements[0], bits.WORD), *elements[1:])
    ends = np.array((seen[0], -seen[1]), np.float32)
    num_parts = parts(num_elements)
    passes = (runner(num_parts), sample.address, collect.address, count_equal.address, select_side.address)
    _search(elements, num_elements, total, tail, ranks, repeated, num_parts, ends, passes)
    return ends
