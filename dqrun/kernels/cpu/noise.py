"""`dropout` and quantisation noise: masks are computed where they are used, there and back, and stored nowhere."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numba import prange
from torch import Tensor
from torch.autograd.function import once_differentiable

from dqrun.kernels.cpu.launch import Array, array, inner, kernel, parts, share
from dqrun.kernels.noise import Noise

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
    """Whether the element is kept (dropout) or rounded (noise); place: its own + low, uint32."""
    return np.uint32(_hash(_hash(place) ^ high) >> np.uint32(8)) >= threshold


@inner
def _drop_slice(x: Array, y: Array, first: Any, high: Any, threshold: Any, scale: Any) -> None:
    for i in range(x.size):
        value = x[i] * scale  # computed whether it is kept or not, so that the loop has no branch
        y[i] = value if chosen(np.uint32(np.uint32(i) + first), high, threshold) else np.float32(0)


@kernel
def _drop(x: Array, y: Array, low: Any, high: Any, threshold: Any, scale: Any, num_parts: int) -> None:
    for part in prange(num_parts):
        start, stop = share(part, num_parts, x.size)
        _drop_slice(x[start:stop], y[start:stop], np.uint32(low + np.uint32(start)), high, threshold, scale)


def noise_values(noise: Noise | None) -> NoiseValues:
    """None chooses every element: a threshold of 0, which kernels look for."""
    rate, low, high = noise or (1.0, 0, 0)
    return np.uint32(low), np.uint32(high), _threshold(1 - rate)


def only_chosen(x: Tensor, noise: Noise | None) -> Tensor:
    """x where noise chooses the element, else 0."""
    return x if noise is None else _scaled_where_chosen(x, noise_values(noise), np.float32(1))


def _threshold(p: float) -> Any:
    return np.uint32(round(p * 2**24))


def _scaled_where_chosen(x: Tensor, values: NoiseValues, scale: Any) -> Tensor:
    y = torch.empty(x.shape)
    if x.numel():
        _drop(array(x), array(y), *values, scale, parts(x.numel()))
    return y


def _dropped(x: Tensor, p: float, low: int, high: int) -> Tensor:
    return _scaled_where_chosen(x, (np.uint32(low), np.uint32(high), _threshold(p)), np.float32(1 / (1 - p)))


class _Dropout(torch.autograd.Function):
    """The gradient is dropped as the value was."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, p: float, low: int, high: int) -> Tensor:
        ctx.arguments = p, low, high
        return _dropped(x, p, low, high)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return _dropped(grad, *ctx.arguments), None, None, None


def dropout(x: Tensor, p: float, low: int, high: int) -> Tensor:
    y: Tensor = _Dropout.apply(x, p, low, high)  # type: ignore[no-untyped-call]
    return y
