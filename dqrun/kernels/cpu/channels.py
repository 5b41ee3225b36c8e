"""`fake_quantize_broadcast`: rounding with a scale for each channel, and its gradients.

A tensor is [outer, channels, inner]. Where inner is 1, neighbours have different scales; otherwise each line of
`inner` elements has one. x is kept for the backward pass, which works out again what passes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from dqrun.kernels.blocks import as_block
from dqrun.kernels.cpu.grids import INFINITY, passes, round_to_grid
from dqrun.kernels.cpu.launch import Array, array, empty_like, inner, kernel, parts, share
from dqrun.kernels.cpu.pointers import pointers
from dqrun.kernels.cpu.steps import slope_of, sum_slopes
from dqrun.kernels.reference import gradient_codes

Steps = tuple[Array, Array, Array]  # float32 [channels] each: 1 / scale, scale and zero point of each channel
Codes = tuple[Any, Any, Any, Any]  # float32, of all channels: the last four of `GridValues`
Block = tuple[int, int, int]


@inner
def _grid(steps: Any, codes: Any, channel: int) -> Any:
    """The grid of one channel as `GridValues`."""
    inverse, scale, zero_point = steps
    qmin, qmax, low, high = codes
    return inverse[channel], scale[channel], zero_point[channel], qmin, qmax, low, high


@inner
def _round_line(x: Any, y: Any, first: int, last: int, grid: Any) -> None:
    for i in range(first, last):
        y[i] = round_to_grid(x[i], grid)


@inner
def _round_across(x: Any, y: Any, first: int, channels: int, steps: Any, codes: Any) -> None:
    for channel in range(channels):
        y[first + channel] = round_to_grid(x[first + channel], _grid(steps, codes, channel))


@kernel
def _forward(part: int, num_parts: int, x: Array, y: Array, steps: Steps, codes: Codes, block: Block) -> None:
    outer, channels, width = block
    (x_at, y_at), steps_at = pointers((x, y)), pointers(steps)
    if width == 1:
        first, last = share(part, num_parts, outer)
        for row in range(first, last):
            _round_across(x_at, y_at, row * channels, channels, steps_at, codes)
    else:
        first, last = share(part, num_parts, outer * channels)
        for line in range(first, last):
            start, grid = line * width, _grid(steps_at, codes, line % channels)
            _round_line(x_at, y_at, start, start + width, grid)


@inner
def _mask_line(grad: Any, x: Any, out: Any, first: int, last: int, grid: Any) -> None:
    for i in range(first, last):
        out[i] = grad[i] if passes(x[i], grid) else np.float32(0)


@inner
def _mask_across(grad: Any, x: Any, out: Any, first: int, channels: int, steps: Any, codes: Any) -> None:
    for channel in range(channels):
        i = first + channel
        out[i] = grad[i] if passes(x[i], _grid(steps, codes, channel)) else np.float32(0)


@kernel
def _backward(
    part: int, num_parts: int, grad: Array, x: Array, out: Array, steps: Steps, codes: Codes, block: Block
) -> None:
    """out = grad where it passes, else 0."""
    outer, channels, width = block
    (grad_at, x_at, out_at), steps_at = pointers((grad, x, out)), pointers(steps)
    if width == 1:
        first, last = share(part, num_parts, outer)
        for row in range(first, last):
            _mask_across(grad_at, x_at, out_at, row * channels, channels, steps_at, codes)
    else:
        first, last = share(part, num_parts, outer * channels)
        for line in range(first, last):
            start, grid = line * width, _grid(steps_at, codes, line % channels)
            _mask_line(grad_at, x_at, out_at, start, start + width, grid)


@inner
def _add_across(grad: Any, x: Any, start: int, first: int, last: int, steps: Any, codes: Any, sums: Any) -> None:
    for channel in range(first, last):
        i = start + channel
        sums[channel] += np.float64(grad[i] * slope_of(x[i], _grid(steps, codes, channel), -INFINITY))


@kernel
def _scale_gradients(
    part: int, num_parts: int, grad: Array, x: Array, steps: Steps, codes: Codes, block: Block, sums: Array
) -> None:
    """sums [channels], float64: the gradient of each scale; a part has channels of its own."""
    outer, channels, width = block
    first, last = share(part, num_parts, channels)
    (grad_at, x_at, sums_at), steps_at = pointers((grad, x, sums)), pointers(steps)
    for row in range(outer):
        if width == 1:
            _add_across(grad_at, x_at, row * channels, first, last, steps_at, codes, sums_at)
        else:
            for channel in range(first, last):
                start, grid = (row * channels + channel) * width, _grid(steps_at, codes, channel)
                sums_at[channel] += np.float64(sum_slopes(width, (grad_at, x_at, start, grid, -INFINITY)))


def fake_quantize_broadcast(
    x: Tensor, scale: Tensor, zero_point: Tensor, qmin: int, qmax: int, estimator: str
) -> Tensor:
    y, grid = empty_like(x), _grids(x, scale, zero_point, qmin, qmax, estimator)
    if x.numel():
        _forward(parts(x.numel()), array(x), array(y), *grid)
    return y


def fake_quantize_broadcast_backward(
    grad: Tensor, x: Tensor, scale: Tensor, zero_point: Tensor, qmin: int, qmax: int, estimator: str
) -> Tensor:
    out, grid = empty_like(grad), _grids(x, scale, zero_point, qmin, qmax, estimator)
    if grad.numel():
        _backward(parts(grad.numel()), array(grad), array(x), array(out), *grid)
    return out


def fake_quantize_broadcast_scale_backward(
    grad: Tensor, x: Tensor, scale: Tensor, zero_point: Tensor, qmin: int, qmax: int
) -> Tensor:
    steps, codes, block = _grids(x, scale, zero_point, qmin, qmax, "clipped")
    sums = np.zeros(block[1])
    _scale_gradients(parts(grad.numel()), array(grad), array(x), steps, codes, block, sums)
    return torch.from_numpy(sums).to(grad.dtype).view(scale.shape)


def _grids(
    x: Tensor, scale: Tensor, zero_point: Tensor, qmin: int, qmax: int, estimator: str
) -> tuple[Steps, Codes, Block]:
    """The grids of all channels, and how they lie in x."""
    step, ends = array(scale), (qmin, qmax, *gradient_codes(qmin, qmax, estimator))
    codes: Any = tuple(map(np.float32, ends))
    return (1 / step, step, array(zero_point).astype(np.float32)), codes, as_block(x.shape, scale.shape)
