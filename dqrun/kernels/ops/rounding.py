"""`fake_quantize`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dqrun.kernels import gradients, reference
from dqrun.kernels.noise import Noise
from dqrun.kernels.operator import Operator, backward_pass
from dqrun.kernels.ops.kept import GRID, Rounded, carry, keep, kept, worth_codes

NOISE = "float rate, int low, int high"
X, SCALE = 0, 1  # the arguments that may have a gradient


class _FakeQuantize(torch.autograd.Function):
    """One pass forward, one backward; keeps a bit per element, which says whether the gradient passes.

    For a learned scale another pass backward, and x is kept.
    """

    @staticmethod
    def forward(ctx: Any, *args: Any) -> Tensor:
        x, scale, zero_point, qmin, qmax, protected, estimator, relu, *noise = args
        masked = (estimator != "ste" or relu) and ctx.needs_input_grad[X]
        y, mask = _cachemask.below(*args) if masked else (fake_quantize.below(*args), None)
        if noise[0] == 1.0 and worth_codes(x, qmin, qmax):
            carry(y, Rounded(scale.detach(), zero_point, qmin, qmax, protected, relu, y._version))
        learned = ctx.needs_input_grad[SCALE]
        ctx.rest = (qmin, qmax), (relu, *noise)
        grid = (scale, zero_point, protected) if learned else (None,) * 3
        keep(ctx, x if learned else None, mask, *grid)
        return y  # type: ignore[no-any-return]

    @staticmethod
    @backward_pass
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, mask, scale, zero_point, protected = kept(ctx)
        ends, rest = ctx.rest
        step = None if x is None else _scale_backward(grad, x, scale, zero_point, *ends, protected, *rest)
        grad_x = grad if mask is None else cachemask_backward(grad, mask)
        return (grad_x, step, *[None] * 9)


def with_noise(args: tuple[Any, ...]) -> tuple[Any, ...]:
    """An operator's arguments as a function takes them: three numbers are a `Noise`, or None."""
    noise = Noise(*args[-3:])
    return (*args[:-3], None if noise.rate == 1.0 else noise)


def mask_like(x: Tensor) -> Tensor:
    return x.new_empty((x.numel() + gradients.WORD - 1) // gradients.WORD, dtype=torch.int32)


ARGUMENTS = f"(Tensor x, {GRID}, Tensor? protected, str estimator, bool relu, {NOISE})"

fake_quantize = Operator(
    f"fake_quantize{ARGUMENTS} -> Tensor",
    lambda *args: reference.fake_quantize(*with_noise(args)),
    lambda x, *_: x.new_empty(x.shape),
    _FakeQuantize,
    (X, SCALE),
)
_cachemask = Operator(
    f"fake_quantize_cachemask{ARGUMENTS} -> (Tensor, Tensor)",
    lambda *args: gradients.cachemask(*with_noise(args)),
    lambda x, *_: (x.new_empty(x.shape), mask_like(x)),
)
cachemask_backward = Operator(
    "fake_quantize_cachemask_backward(Tensor grad, Tensor mask) -> Tensor",
    gradients.where_set,
    lambda grad, _: grad.new_empty(grad.shape),
)
_scale_backward = Operator(
    f"fake_quantize_scale_backward(Tensor grad, Tensor x, {GRID}, Tensor? protected, bool relu, {NOISE}) -> Tensor",
    lambda *args: gradients.fake_quantize_scale(*with_noise(args)),
    lambda grad, *_: grad.new_empty(()),
)
