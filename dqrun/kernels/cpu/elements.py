"""The multiset whose range is computed, in the form that kernels take: elements of a tensor, or messages of edges.

The elements are rows of `width` values: row r is `factor[r] * x[s]`, s = source[r // heads] * heads + r % heads (empty
source: s = r), and counts `count[source[r // heads]]` times, not at all where `protected` is set. Empty factor and
count stand for ones, empty `protected` for no such row.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dqrun.kernels.cpu.launch import Array, inner

Elements = tuple[Array, Array, Array, Array, Array, int, int]  # x, source, factor, count, protected, heads, width


@inner
def present(elements: Elements) -> tuple[Any, Any, Any, Any]:
    """Whether there is a source, a factor, a count, a protected row; `pointers(elements)` no longer has the sizes."""
    return elements[1].size > 0, elements[2].size > 0, elements[3].size > 0, elements[4].size > 0


@inner
def row_of(at: Any, has: Any, row: Any) -> tuple[Any, Any, Any]:
    """The start of a row in x, its factor, and how often it counts; `at`: pointers(elements)."""
    _, source, factor, count, protected, heads, width = at
    if heads == 1:  # spares the divisions
        node = place = source[row] if has[0] else row
    else:
        node = source[row // heads] if has[0] else row // heads
        place = node * heads + row % heads
    times = count[node] if has[2] else np.int64(1)
    if has[3] and protected[node] != 0:
        times = np.int64(0)
    return place * width, factor[row] if has[1] else np.float32(1), times
