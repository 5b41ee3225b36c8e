"""Exact ranges of a multiset in linear time: `tail_range` and `message_range`."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from dqrun.kernels.cpu.elements import Elements, present, row_of
from dqrun.kernels.cpu.launch import (
    NO_FLAGS,
    NO_FLOATS,
    NO_INTEGERS,
    Array,
    array,
    inner_loop,
    kernel,
    optional,
    parts,
    share,
)
from dqrun.kernels.cpu.pointers import pointers
from dqrun.kernels.cpu.selection import from_ordered, to_ordered
from dqrun.kernels.cpu.tails import INFINITY, tails
from dqrun.kernels.reference import Range, left_out

Ends = tuple[Any, Any]  # low and high


@inner_loop
def _slice_extremes(x: Any, first: int, last: int, factor: Any, low: Any, high: Any) -> tuple[Any, Any]:
    for i in range(first, last):
        ordered = to_ordered(x[i] * factor)
        low = min(low, ordered)
        high = max(high, ordered)
    return low, high


@kernel
def _extremes(part: int, num_parts: int, elements: Elements, num_elements: int, ends: Array) -> None:
    """Minimum and maximum of the counted elements of each part, into ends [parts, 2].

    Compared as integers, which the compiler can vectorise.
    """
    at, has = pointers(elements), present(elements)
    x, width = at[0], at[6]
    start, stop = share(part, num_parts, num_elements)
    low, high = to_ordered(INFINITY), to_ordered(-INFINITY)
    row = start // width
    while start < stop:
        first, factor, count = row_of(at, has, row)
        end = min(stop, (row + 1) * width)
        if count > 0:
            first += start - row * width
            low, high = _slice_extremes(x, first, first + end - start, factor, low, high)
        row, start = row + 1, end
    ends[part, 0], ends[part, 1] = from_ordered(low), from_ordered(high)


def _range(
    elements: Elements,
    num_elements: int,
    tail: float,
    total: int,
    repeated: bool,
    seen: Ends,
    percentile: str,
) -> Range:
    """The range of elements that count `total` times in all, and of `seen`; `repeated`: some more than once."""
    seen_low, seen_high = seen
    below, above = left_out(tail, total, percentile) if total else (0, 0)
    if total == 0:
        low, high = INFINITY, -INFINITY
    elif below == above == 0:
        num_parts = parts(num_elements)
        ends = np.empty((num_parts, 2), np.float32)
        _extremes(num_parts, elements, num_elements, ends)
        low, high = ends[:, 0].min(), ends[:, 1].max()
    else:
        ranks = below, above
        low, minus_high = tails(elements, num_elements, total, tail, ranks, repeated, (seen_low, seen_high))
        high = -minus_high
    return _scalar(min(low, seen_low)), _scalar(max(high, seen_high))


def _scalar(x: float) -> Tensor:
    """In half the time that `torch.tensor` takes."""
    return torch.scalar_tensor(x, dtype=torch.float32)


def seen_ends(low: Tensor | None, high: Tensor | None) -> Ends:
    """An earlier range as two numbers; (+inf, -inf) for None."""
    return (INFINITY, -INFINITY) if low is None or high is None else (low.item(), high.item())


def tail_range(
    x: Tensor,
    tail: float,
    row_weight: Tensor | None,
    protected: Tensor | None,
    seen_low: Tensor | None,
    seen_high: Tensor | None,
    percentile: str,
) -> Range:
    num_elements, seen = x.numel(), seen_ends(seen_low, seen_high)
    if num_elements == 0 or (row_weight is None and protected is None):  # one row
        one_row = (array(x), NO_INTEGERS, NO_FLOATS, NO_INTEGERS, _flags(None), 1, num_elements)
        return _range(one_row, num_elements, tail, num_elements, False, seen, percentile)
    width = num_elements // x.size(0)
    elements = (array(x), NO_INTEGERS, NO_FLOATS, optional(row_weight, NO_INTEGERS), _flags(protected), 1, width)
    total = _rows(x.size(0), row_weight, protected) * width
    return _range(elements, num_elements, tail, total, row_weight is not None, seen, percentile)


def message_range(
    x: Tensor,
    weight: Tensor,
    tail: float,
    protected: Tensor | None,
    seen_low: Tensor | None,
    seen_high: Tensor | None,
    percentile: str,
    _rowptr: Tensor,
    col: Tensor,
    _row: Tensor,
    t_rowptr: Tensor,
    *_: Tensor,
) -> Range:
    seen = seen_ends(seen_low, seen_high)
    heads, width = x[0].numel() // x.size(-1) if x.size(0) else 1, x.size(-1)
    edges = col.numel() if protected is None else _rows(x.size(0), t_rowptr.diff(), protected)
    sources, flags = (array(col), array(weight), NO_INTEGERS), _flags(protected)
    elements = (array(x), *sources, flags, heads, width)
    return _range(elements, col.numel() * heads * width, tail, edges * heads * width, False, seen, percentile)


def _flags(protected: Tensor | None) -> Array:
    """The flags as bytes, because kernels cannot read pointers to booleans."""
    return optional(protected, NO_FLAGS).view(np.uint8)


def _rows(num_rows: int, weight: Tensor | None, protected: Tensor | None) -> int:
    """How many rows count, each as often as its weight says."""
    if weight is None:
        return num_rows - int(np.count_nonzero(optional(protected, NO_FLAGS)))
    return int(weight.sum() if protected is None else weight.masked_fill(protected, 0).sum())
