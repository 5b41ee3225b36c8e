"""The gradient of the weights of messages: for each edge, a sum over channels."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from dqrun.kernels.cpu.edge_terms import PLAIN, Terms, terms_of
from dqrun.kernels.cpu.grids import GridValues, passes
from dqrun.kernels.cpu.lanes import dot, dot_passing, sum_of
from dqrun.kernels.cpu.launch import Array, array, empty_like, inner, kernel, parts, share
from dqrun.kernels.cpu.noise import NoiseValues, chosen
from dqrun.kernels.cpu.pointers import pointers


@inner
def _term_chosen(f: int, arguments: Any) -> Any:
    """Terms that noise chooses count where their gradient passes, others always; first: the message's element f = 0."""
    a, i, b, j, weight, grid, first, high, threshold = arguments
    exact = not chosen(np.uint32(first + np.uint32(f)), high, threshold)
    term = a[i + f] * b[j + f]
    return term if exact | passes(weight * b[j + f], grid) else np.float32(0)


_dot_chosen = sum_of(_term_chosen)


@kernel
def _edge_dots(
    part: int,
    num_parts: int,
    row: Array,
    grad: Array,
    terms: Terms,
    grid: GridValues,
    noise: NoiseValues,
    channels: int,
    out: Array,
) -> None:
    """out[e, h] = sum over channels of grad[row[e], h] * x[col[e], h], of those whose gradient passes."""
    col, _, weight, x, _, protected, mode, heads = pointers(terms)
    row_at, grad_at, out_at = pointers((row, grad, out))
    num_edges, has_protected, (low, high, threshold) = terms[0].size, terms[5].size > 0, noise
    noisy = threshold > 0
    first, last = share(part, num_parts, num_edges)
    for e in range(first, last):
        target, source = row_at[e], col[e]
        exact = mode == PLAIN or (has_protected and protected[source] != 0)
        for head in range(heads):
            i, j, place = (target * heads + head) * channels, (source * heads + head) * channels, e * heads + head
            if exact:
                out_at[place] = dot(grad_at, i, x, j, channels)
            elif noisy:
                start = np.uint32(low + np.uint32(place * channels))
                out_at[place] = _dot_chosen(channels, (grad_at, i, x, j, weight[place], grid, start, high, threshold))
            else:
                out_at[place] = dot_passing(grad_at, i, x, j, channels, weight[place], grid)


def dot_edges(
    row: Tensor,
    col: Tensor,
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    protected: Tensor | None,
    grid: GridValues,
    noise: NoiseValues,
    mode: int,
) -> Tensor:
    """The gradient of the weights, [E] or [E, H]; mode: PLAIN or MASKED."""
    out = empty_like(weight)
    if out.numel():
        terms, channels = terms_of(x, col, None, weight, None, protected, mode), x.size(-1)
        num_parts = parts(out.numel() * channels)
        _edge_dots(num_parts, array(row), array(grad), terms, grid, noise, channels, array(out))
    return out
