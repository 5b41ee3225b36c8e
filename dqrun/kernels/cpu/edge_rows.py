"""Plain terms of a sum over edges, rows times a weight of the edge, added in registers.

Each block of channels of a row stays in registers from its first edge to its last, while rows of later edges are
prefetched. Products and sums are those of `edge_terms`, in the order of edges: the same bits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from dqrun.kernels.cpu.launch import inner, inner_loop
from dqrun.kernels.cpu.vector import F32x16, load, load_first, prefetch, registers, store, store_first

LANES = 16
AHEAD = 128  # cache lines that are prefetched at once


def _block(vectors: int) -> Callable[..., None]:
    """Adds the terms of a row's edges to up to `vectors` vectors of channels."""
    whole, ahead = vectors - 1, AHEAD // vectors

    @inner_loop
    def add(total: Any, place: int, offset: int, count: int, width: int, edges: Any, at: Any, has: Any) -> None:
        """total[place + c] += w * x[source, c] for the channels c = offset..offset + count, count > LANES * whole."""
        col, edge, weight, x, _, _, _, _ = at
        first, last, limit = edges
        sums, begin, tail = registers(F32x16, vectors), place + offset, count - LANES * whole
        for v in range(whole):
            sums[v] = load(F32x16, total, begin + LANES * v)
        sums[whole] = load_first(F32x16, total, begin + LANES * whole, tail)
        for position in range(first, last):
            later = min(position + ahead, limit - 1)
            coming = (col[later] if has[0] else later) * width + offset
            for v in range(vectors):
                prefetch(x, coming + LANES * v)
            row = (col[position] if has[0] else position) * width + offset
            w = weight[edge[position] if has[1] else position] if has[2] else np.float32(1)
            for v in range(whole):
                sums[v] = sums[v] + load(F32x16, x, row + LANES * v) * w
            sums[whole] = sums[whole] + load_first(F32x16, x, row + LANES * whole, tail) * w
        for v in range(whole):
            store(total, begin + LANES * v, sums[v])
        store_first(total, begin + LANES * whole, sums[whole], tail)

    return add


_block_1, _block_2, _block_3, _block_4, _block_8 = (_block(vectors) for vectors in (1, 2, 3, 4, 8))


@inner
def add_rows(total: Any, place: int, width: int, edges: Any, at: Any, has: Any) -> None:
    """Adds the rows of edges, times their weights if there are any, to total[place..place + width].

    edges: first, last, and the number of all. at and has: as `edge_terms.add_edges` takes them.
    """
    offset = 0
    while offset < width:
        left = width - offset
        vectors = (left + LANES - 1) // LANES
        size = 8 if vectors >= 8 else min(vectors, 4)
        count = min(left, LANES * size)
        if size == 8:
            _block_8(total, place, offset, count, width, edges, at, has)
        elif size == 4:
            _block_4(total, place, offset, count, width, edges, at, has)
        elif size == 3:
            _block_3(total, place, offset, count, width, edges, at, has)
        elif size == 2:
            _block_2(total, place, offset, count, width, edges, at, has)
        else:
            _block_1(total, place, offset, count, width, edges, at, has)
        offset += count
