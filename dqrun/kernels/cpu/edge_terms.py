"""The terms of a sum over edges, which an edge adds to the row of its target, and their form as kernel arguments.

There are separate loops with and without noise: with one loop and a loop-invariant condition the backward pass of
clipped messages was a quarter slower. Masked terms select the factor, not the product: see steps.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from dqrun.kernels.cpu.grids import GridValues, passes, round_to_grid
from dqrun.kernels.cpu.launch import NO_FLAGS, NO_FLOATS, NO_INTEGERS, Array, array, inner, inner_loop, optional
from dqrun.kernels.cpu.noise import NoiseValues, chosen

PLAIN, ROUNDED, MASKED = 0, 1, 2  # terms: w * x[c]; w * x[c] rounded; w * x[c] where the gradient of w * own[i] passes
NO_GRID: GridValues = (np.float32(0),) * 7

# Operands of the terms. col [E]: the row of x of each edge (empty: its position); edge [E]: its index in weight
# (empty: its position); weight [E * heads] (empty: ones); x and own, flat; protected [N] (empty: none); mode; heads.
Terms = tuple[Array, Array, Array, Array, Array, Array, int, int]


@inner_loop
def _add(total: Any, place: int, x: Any, start: int, size: int, weight: Any) -> None:
    for f in range(size):
        total[place + f] += weight * x[start + f]


@inner_loop
def _add_rounded(total: Any, place: int, x: Any, start: int, size: int, weight: Any, grid: GridValues) -> None:
    for f in range(size):
        total[place + f] += round_to_grid(weight * x[start + f], grid)


@inner_loop
def _add_masked(
    total: Any, place: int, x: Any, start: int, size: int, weight: Any, own: Any, own_start: int, grid: GridValues
) -> None:
    for f in range(size):
        factor = weight if passes(weight * own[own_start + f], grid) else np.float32(0)
        total[place + f] += factor * x[start + f]


@inner_loop
def _add_chosen(
    total: Any,
    place: int,
    x: Any,
    start: int,
    size: int,
    weight: Any,
    grid: GridValues,
    element: int,
    noise: NoiseValues,
) -> None:
    """As `_add_rounded` for elements that noise chooses, as `_add` for others; element: index of the message's first
    element among those of all messages."""
    low, high, threshold = noise
    first = np.uint32(low + np.uint32(element))
    for f in range(size):
        message = weight * x[start + f]
        rounded = round_to_grid(message, grid)
        total[place + f] += rounded if chosen(np.uint32(first + np.uint32(f)), high, threshold) else message


@inner_loop
def _add_masked_chosen(
    total: Any,
    place: int,
    x: Any,
    start: int,
    size: int,
    weight: Any,
    own: Any,
    own_start: int,
    grid: GridValues,
    element: int,
    noise: NoiseValues,
) -> None:
    """As `_add_masked` for elements that noise chooses, as `_add` for others."""
    low, high, threshold = noise
    first = np.uint32(low + np.uint32(element))
    for f in range(size):
        exact = not chosen(np.uint32(first + np.uint32(f)), high, threshold)
        factor = weight if exact | passes(weight * own[own_start + f], grid) else np.float32(0)
        total[place + f] += factor * x[start + f]


@inner
def add_edges(
    total: Any,
    place: int,
    width: int,
    row: int,
    first: int,
    last: int,
    at: Any,
    has: Any,
    grid: GridValues,
    noise: NoiseValues,
) -> None:
    """Adds the terms of the edges first..last of a row to its total, `width` values from `place` on.

    at: pointers(terms); has: whether there is a col, an edge, a weight, a protected row.
    """
    col, edge, weight, x, own, protected, mode, heads = at
    channels, noisy = width // heads, noise[2] > 0
    for position in range(first, last):
        source = col[position] if has[0] else position
        index = edge[position] if has[1] else position
        exact = mode == PLAIN or (has[3] and protected[source if mode == ROUNDED else row] != 0)
        for head in range(heads):
            w = weight[index * heads + head] if has[2] else np.float32(1)
            start, into = (source * heads + head) * channels, place + head * channels
            own_start, element = (row * heads + head) * channels, (index * heads + head) * channels
            if exact:
                _add(total, into, x, start, channels, w)
            elif mode == ROUNDED and noisy:
                _add_chosen(total, into, x, start, channels, w, grid, element, noise)
            elif mode == ROUNDED:
                _add_rounded(total, into, x, start, channels, w, grid)
            elif noisy:
                _add_masked_chosen(total, into, x, start, channels, w, own, own_start, grid, element, noise)
            else:
                _add_masked(total, into, x, start, channels, w, own, own_start, grid)


def terms_of(
    x: Tensor,
    col: Tensor | None,
    edge: Tensor | None,
    weight: Tensor | None,
    own: Tensor | None,
    protected: Tensor | None,
    mode: int,
) -> Terms:
    integers = optional(col, NO_INTEGERS), optional(edge, NO_INTEGERS)
    floats = optional(weight, NO_FLOATS), array(x), optional(own, NO_FLOATS)
    return (*integers, *floats, optional(protected, NO_FLAGS).view(np.uint8), mode, x.size(1) if x.dim() == 3 else 1)
