"""The gradient of the weights of messages: for each edge, a sum over channels."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numba import prange
from torch import Tensor

from dqrun.graphs import CSR
from dqrun.kernels.cpu.edge_terms import PLAIN, Terms, terms_of
from dqrun.kernels.cpu.grids import GridValues, passes
from dqrun.kernels.cpu.launch import Array, array, inner_sum, kernel, parts, share
from dqrun.kernels.cpu.noise import NoiseValues, chosen
from dqrun.kernels.cpu.pointers import pointers


@inner_sum
def _dot(a: Any, i: int, b: Any, j: int, size: int) -> Any:
    total = np.float32(0)
    for f in range(size):
        total += a[i + f] * b[j + f]
    return total


@inner_sum
def _dot_masked(a: Any, i: int, b: Any, j: int, size: int, weight: Any, grid: GridValues) -> Any:
    total = np.float32(0)
    for f in range(size):
        term = a[i + f] * b[j + f]
        total += term if passes(weight * b[j + f], grid) else np.float32(0)
    return total


@inner_sum
def _dot_masked_chosen(
    a: Any, i: int, b: Any, j: int, size: int, weight: Any, grid: GridValues, element: int, noise: NoiseValues
) -> Any:
    """As `_dot_masked` for what noise chooses, as `_dot` for the rest; element: the message's first one of all."""
    low, high, threshold = noise
    first, total = np.uint32(low + np.uint32(element)), np.float32(0)
    for f in range(size):
        exact = not chosen(np.uint32(first + np.uint32(f)), high, threshold)
        term = a[i + f] * b[j + f]
        total += term if exact | passes(weight * b[j + f], grid) else np.float32(0)
    return total


@kernel
def _edge_dots(
    row: Array,
    grad: Array,
    terms: Terms,
    grid: GridValues,
    noise: NoiseValues,
    channels: int,
    out: Array,
    num_parts: int,
) -> None:
    """out[e, h] = sum over channels of grad[row[e], h] * x[col[e], h], of those whose gradient passes."""
    col, _, weight, x, _, protected, mode, heads = pointers(terms)
    row_at, grad_at, out_at = pointers((row, grad, out))
    num_edges, has_protected, noisy = terms[0].size, terms[5].size > 0, noise[2] > 0
    for part in prange(num_parts):
        first, last = share(part, num_parts, num_edges)
        for e in range(first, last):
            target, source = row_at[e], col[e]
            exact = mode == PLAIN or (has_protected and protected[source] != 0)
            for head in range(heads):
                i, j, place = (target * heads + head) * channels, (source * heads + head) * channels, e * heads + head
                if exact:
                    out_at[place] = _dot(grad_at, i, x, j, channels)
                elif noisy:
                    w, element = weight[place], place * channels
                    out_at[place] = _dot_masked_chosen(grad_at, i, x, j, channels, w, grid, element, noise)
                else:
                    out_at[place] = _dot_masked(grad_at, i, x, j, channels, weight[place], grid)


def dot_edges(
    csr: CSR,
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    protected: Tensor | None,
    grid: GridValues,
    noise: NoiseValues,
    mode: int,
) -> Tensor:
    """The gradient of the weights, [E] or [E, H]; mode: PLAIN or MASKED."""
    out = torch.empty(weight.shape)
    if out.numel():
        terms, channels = terms_of(x, csr.col, None, weight, None, protected, mode), x.size(-1)
        _edge_dots(array(csr.row), array(grad), terms, grid, noise, channels, array(out), parts(out.numel() * channels))
    return out
