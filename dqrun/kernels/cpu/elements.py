"""The multiset whose range is asked for, as kernels see it: tensor elements, or messages that are never made.

The elements are rows of `width` values: row r is `factor[r] * x[s]`, s = source[r // heads] * heads + r % heads (empty
source: s = r), and counts `count[source[r // heads]]` times, not at all where `keep` is set. Empty factor and count
stand for ones, empty keep for no such row.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dqrun.kernels.cpu.launch import Array, inner

Elements = tuple[Array, Array, Array, Array, Array, int, int]  # x, source, factor, count, keep, heads, width


@inner
def row_of(elements: Elements, row: int) -> tuple[int, Any, int]:
    """Of one row: where it begins in x, its factor, how often it counts."""
    _, source, factor, count, keep, heads, width = elements
    if heads == 1:  # spares the divisions
        node = place = source[row] if source.size else row
    else:
        node = source[row // heads] if source.size else row // heads
        place = node * heads + row % heads
    times = count[node] if count.size else 1
    if keep.size and keep[node]:
        times = 0
    return place * width, factor[row] if factor.size else np.float32(1), times
