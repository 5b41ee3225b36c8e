"""`dropout` and quantisation noise: masks are computed again in each pass, forward and backward, and not stored."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from dqrun.kernels.cpu.launch import Array, array, empty_like, inner, kernel, parts, share

NoiseValues = tuple[Any, Any, Any]  # low, high and the threshold that the hash must reach, uint32


@inner
def _hash(x: Any) -> Any:
    # numba widens the results of uint32 arithmetic to 64 bits: each product is cut back
    x ^= x >> np.uint32(16)
    x = np.uint32(x * np.uint32(0x7FEB352D))
    x ^= x >> np.uint32(15)
    x = np.uint32(x * np.uint32(0x846CA68B))
    return np.uint32(x ^ (x >> np.uint32(16)))


@inner
def chosen(place: Any, high: Any, threshold: Any) -> Any:
    """Whether the element is kept (dropout) or rounded (noise); place: its index + low, uint32."""
    return np.uint32(_hash(_hash(place) ^ high) >> np.uint32(8)) >= threshold


@inner
def _drop_slice(x: Array, y: Array, first: Any, high: Any, threshold: Any, scale: Any) -> None:
    for i in range(x.size):
        value = x[i] * scale  # computed whether it is kept or not, so that the loop has no branch
        y[i] = value if chosen(np.uint32(np.uint32(i) + first), high, threshold) else np.float32(0)


@kernel
def _drop(part: int, num_parts: int, x: Array, y: Array, low: Any, high: Any, threshold: Any, scale: Any) -> None:
    start, stop = share(part, num_parts, x.size)
    _drop_slice(x[start:stop], y[start:stop], np.uint32(low + np.uint32(start)), high, threshold, scale)


def noise_values(rate: float, low: int, high: int) -> NoiseValues:
    """Seeds and threshold as kernels take them; a rate of 1 has threshold 0: kernels then skip the hash."""
    return np.uint32(low), np.uint32(high), _threshold(1 - rate)


def only_chosen(x: Tensor, values: NoiseValues) -> Tensor:
    """x where noise chooses the element, else 0."""
    return _scaled_where_chosen(x, values, np.float32(1)) if values[2] else x


def _threshold(p: float) -> Any:
    return np.uint32(round(p * 2**24))


def _scaled_where_chosen(x: Tensor, values: NoiseValues, scale: Any) -> Tensor:
    y = empty_like(x)
    if x.numel():
        _drop(parts(x.numel()), array(x), array(y), *values, scale)
    return y


def dropout(x: Tensor, p: float, seed: Tensor) -> Tensor:
    low, high = seed.tolist()
    return _scaled_where_chosen(x, (np.uint32(low), np.uint32(high), _threshold(p)), np.float32(1 / (1 - p)))
