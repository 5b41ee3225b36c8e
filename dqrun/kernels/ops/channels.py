"""`fake_quantize_broadcast` and `channel_range`: a scale and a range for each channel."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dqrun.kernels import gradients, reference
from dqrun.kernels.operator import Operator, backward_pass
from dqrun.kernels.ops.kept import GRID, keep, kept
from dqrun.kernels.ops.ranges import SEEN, seen_range
from dqrun.kernels.ops.rounding import SCALE, X


class _FakeQuantize(torch.autograd.Function):
    """Keeps x; the backward pass computes again which gradients pass."""

    @staticmethod
    def forward(ctx: Any, *args: Any) -> Tensor:
        x, scale, zero_point, *ctx.ends, ctx.estimator = args
        needs_x = ctx.estimator != "ste" or ctx.needs_input_grad[SCALE]
        keep(ctx, x if needs_x else None, scale, zero_point)
        return fake_quantize_broadcast.below(*args)  # type: ignore[no-any-return]

    @staticmethod
    @backward_pass
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        args = (grad, *kept(ctx), *ctx.ends)
        of_scale = _scale_backward(*args) if ctx.needs_input_grad[SCALE] else None
        return (grad if ctx.estimator == "ste" else _backward(*args, ctx.estimator), of_scale, *[None] * 4)


fake_quantize_broadcast = Operator(
    f"fake_quantize_broadcast(Tensor x, {GRID}, str estimator) -> Tensor",
    reference.fake_quantize_broadcast,
    lambda x, *_: x.new_empty(x.shape),
    _FakeQuantize,
    (X, SCALE),
)
_backward = Operator(
    f"fake_quantize_broadcast_backward(Tensor grad, Tensor x, {GRID}, str estimator) -> Tensor",
    gradients.fake_quantize_broadcast,
    lambda grad, *_: grad.new_empty(grad.shape),
)
_scale_backward = Operator(
    f"fake_quantize_broadcast_scale_backward(Tensor grad, Tensor x, {GRID}) -> Tensor",
    gradients.fake_quantize_broadcast_scale,
    lambda grad, x, scale, *_: grad.new_empty(scale.shape),
)
channel_range = Operator(
    f"channel_range(Tensor x, SymInt[] shape, float tail, {SEEN}) -> (Tensor, Tensor)",
    lambda x, shape, tail, low, high, percentile: reference.channel_range(
        x, tuple(shape), tail, seen_range(low, high), percentile
    ),
    lambda x, shape, *_: (x.new_empty(shape), x.new_empty(shape)),
)
