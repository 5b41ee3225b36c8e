"""`fake_quantize`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dqrun.kernels import gradients, reference
from dqrun.kernels.noise import Noise
from dqrun.kernels.operator import Operator, backward_pass
from dqrun.kernels.ops.kept import GRID, Codes, carry, keep, kept, worth_codes
from dqrun.kernels.packing import packed_size, width_of_codes

NOISE = "float rate, int low, int high"
X, SCALE = 0, 1  # the arguments that may have a gradient


class _FakeQuantize(torch.autograd.Function):
    """One pass forward, one backward; keeps a bit per element, which says whether the gradient passes.

    The result carries its codes, for the derivatives that need it. For a learned scale another pass backward, and x is
    kept.
    """

    @staticmethod
    def forward(ctx: Any, *args: Any) -> Tensor:
        x, scale, zero_point, qmin, qmax, protected, estimator, relu, *noise = args
        masked = (estimator != "ste" or relu) and ctx.needs_input_grad[X]
        mask = None
        if noise[0] == 1.0 and worth_codes(x, qmin, qmax):
            y, mask, codes = _coded.below(*args[:-3])
            carry(y, Codes(codes, scale.detach(), zero_point, qmin, qmax, protected, relu))
        elif masked:
            y, mask = _cachemask.below(*args)
        else:
            y = fake_quantize.below(*args)
        learned = ctx.needs_input_grad[SCALE]
        ctx.rest = (qmin, qmax), (relu, *noise)
        grid = (scale, zero_point, protected) if learned else (None,) * 3
        keep(ctx, x if learned else None, mask if masked else None, *grid)
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


EXACTLY = f"Tensor x, {GRID}, Tensor? protected, str estimator, bool relu"
ARGUMENTS = f"({EXACTLY}, {NOISE})"

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
_coded = Operator(
    f"fake_quantize_coded({EXACTLY}) -> (Tensor, Tensor, Tensor)",
    gradients.coded,
    lambda x, _, __, qmin, qmax, ___, estimator, relu: (
        x.new_empty(x.shape),
        mask_like(x) if relu or estimator != "ste" else x.new_empty(0, dtype=torch.int32),
        x.new_empty(packed_size(x.numel(), width_of_codes(qmin, qmax)), dtype=torch.uint8),
    ),
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
