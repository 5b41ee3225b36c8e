"""The exact range of the numbers of several processes; they exchange only the few numbers that can be its ends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from dqrun.kernels.reference import left_out
from dqrun.ranks.alone import Numbers, Range, Ranks

ALL = 2**62


class _Ends(NamedTuple):
    """The ends of the range of one process's numbers, and their count."""

    low: float
    high: float
    number: int


class _Search(NamedTuple):
    """The search for one end: for the element of all numbers, times `sign`, that has `below` smaller ones, but at most
    `largest`.

    `exact`: whether it is not below `least`.
    """

    below: int
    least: float
    largest: float
    exact: bool
    sign: int

    @property
    def is_done(self) -> bool:
        return self.exact and self.least == self.largest


def shared_range(numbers: Numbers, tail: float, seen: Range | None, percentile: str, ranks: Ranks) -> Range:
    """The range of the numbers of all processes: `kernels.tail_range` of all of them together; float32, 0-d.

    Each process computes the range of its own numbers with the compiled kernel. The element of rank floor(tail W) + 1
    of all W numbers lies between the minimum and the maximum, over processes r, of the elements of rank
    floor(tail W_r) + 1: at most floor(tail W) numbers are below the minimum, and at least floor(tail W) + 1 are not
    above the maximum. Only if these differ, numbers between them are exchanged. An earlier range `seen` limits both, so
    that for a range that no longer grows the processes exchange three numbers each, once.
    """
    own = _own(numbers, tail, seen, percentile)
    told = torch.stack(ranks.gathered(torch.tensor([*own[:2], float(own.number)], dtype=torch.float64))).tolist()
    all_ends = [_Ends(low, high, int(count)) for low, high, count in told]
    total = sum(ends.number for ends in all_ends)
    like = seen[0] if seen is not None else torch.empty((), dtype=torch.float32)
    if not total:
        return like.new_tensor(min(ends.low for ends in all_ends)), like.new_tensor(max(ends.high for ends in all_ends))
    some = [ends for ends in all_ends if ends.number]
    below, above = left_out(tail, total, percentile)
    exact = percentile == "symmetric" or tail == 0
    lows, highs = [ends.low for ends in some], [-ends.high for ends in some]
    if tail == 0:
        low, high = min(lows), min(highs)
    else:
        searches = (
            _Search(below, min(lows), max(lows), exact, 1),
            _Search(above, min(highs), max(highs), exact, -1),
        )
        low, high = _found(numbers, searches, ranks)
    return like.new_tensor(low), like.new_tensor(-high)


def _own(numbers: Numbers, tail: float, seen: Range | None, percentile: str) -> _Ends:
    """The range of this process's numbers, joined with `seen`.

    The ranks of percentile=kthvalue are not those of the bounds above: two more numbers stay outside then, so that the
    largest end is one.
    """
    count = numbers.observed
    if tail and percentile != "symmetric":
        tail = min(0.499, tail + 2 / max(1, count))
    low, high = numbers.range((), tail, seen, "symmetric")
    return _Ends(float(low), float(high), count)


def _found(numbers: Numbers, searches: Sequence[_Search], ranks: Ranks) -> list[float]:
    """The elements that are searched for: at most two exchanges, whatever the number of searches."""
    if all(search.is_done for search in searches):
        return [search.least for search in searches]
    own, inside, at_most = numbers.sample(ALL).flatten(), [], []
    for search in searches:
        signed = own * search.sign
        is_inside = signed < search.largest
        inside.append(signed[is_inside & (signed > search.least) if search.exact else is_inside])
        at_most.append(int((signed <= search.least).sum()) if search.exact else 0)
    counts = torch.stack(ranks.gathered(torch.tensor([at_most, [each.numel() for each in inside]])))  # [R, 2, searches]
    sizes = counts[:, 1].tolist()
    padded = own.new_zeros(max(map(sum, sizes)))
    padded[: sum(sizes[ranks.rank])] = torch.cat(inside)
    parts = [torch.split(part[: sum(size)], size) for part, size in zip(ranks.gathered(padded), sizes, strict=True)]
    found = []
    for i, (search, smaller) in enumerate(zip(searches, counts[:, 0].sum(0).tolist(), strict=True)):
        between, place = torch.cat([part[i] for part in parts]).sort().values, search.below - smaller
        if place < 0 or search.is_done:
            found.append(search.least)
        else:
            found.append(float(between[place]) if place < between.numel() else search.largest)
    return found
