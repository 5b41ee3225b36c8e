"""The exact range of the numbers of several processes; they exchange only the few numbers that can be its ends."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from dqrun.kernels.reference import left_out
from dqrun.ranks.alone import Numbers, Range, Ranks

ALL = 2**62


class _Ends(NamedTuple):
    """The ends of the range of one process's numbers, and their count."""

    low: float
    high: float
    number: int


def shared_range(numbers: Numbers, tail: float, seen: Range | None, percentile: str, ranks: Ranks) -> Range:
    """The range of the numbers of all processes: `kernels.tail_range` of all of them together; float32, 0-d.

    Each process computes the range of its own numbers with the compiled kernel. The element of rank floor(tail W) + 1
    of all W numbers lies between the minimum and the maximum, over processes r, of the elements of rank
    floor(tail W_r) + 1: at most floor(tail W) numbers are below the minimum, and at least floor(tail W) + 1 are not
    above the maximum. Only if these differ, numbers between them are exchanged. An earlier range `seen` limits both, so
    that for a range that no longer grows the processes exchange three numbers each, once.
    """
    own = _own(numbers, tail, seen, percentile)
    told = ranks.joined(torch.tensor([*own[:2], float(own.number)], dtype=torch.float64)).view(-1, 3).tolist()
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
        low, high = min(lows), -min(highs)
    else:
        low = _between(numbers, below, lows, exact, 1, ranks)
        high = -_between(numbers, above, highs, exact, -1, ranks)
    return like.new_tensor(low), like.new_tensor(high)


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


def _between(numbers: Numbers, below: int, ends: list[float], exact: bool, sign: int, ranks: Ranks) -> float:
    """The element of all numbers, times `sign`, that has `below` smaller ones, but at most the largest of `ends`.

    `exact`: whether it is not below the least of `ends`.
    """
    least, largest = min(ends), max(ends)
    if exact and least == largest:
        return least
    own = numbers.sample(ALL).flatten() * sign
    inside = own[(own > least) & (own < largest)] if exact else own[own < largest]
    at_most = int(ranks.total(float((own <= least).sum()))) if exact else 0
    found: Tensor = ranks.joined(inside).sort().values
    if below < at_most:
        return least
    return float(found[below - at_most]) if below - at_most < found.numel() else largest
