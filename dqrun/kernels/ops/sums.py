"""Sums over edges: `spmm`, `spmm_self`, `spmm_quantized`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dqrun.graphs import CSR
from dqrun.kernels import gradients, reference
from dqrun.kernels.noise import Noise
from dqrun.kernels.operator import CSR_PARTS, Operator, backward_pass
from dqrun.kernels.ops.kept import GRID, keep, kept
from dqrun.kernels.ops.rounding import NOISE

PARTS = 6  # of a CSR: the last arguments
X, WEIGHT, SCALE = 0, 1, 2  # the arguments that may have a gradient


class _Spmm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor | None, *csr: Tensor) -> Tensor:
        keep(ctx, x if ctx.needs_input_grad[WEIGHT] else None, weight, *csr)
        return spmm.below(x, weight, *csr)  # type: ignore[no-any-return]

    @staticmethod
    @backward_pass
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, *csr = kept(ctx)
        grad_x = _spmm_backward(grad, weight, *csr) if ctx.needs_input_grad[X] else None
        grad_weight = _weight_backward(grad, x, weight, *csr) if ctx.needs_input_grad[WEIGHT] else None
        return (grad_x, grad_weight, *[None] * PARTS)


class _SpmmSelf(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, self_weight: Tensor, *csr: Tensor) -> Tensor:
        keep(ctx, x, self_weight, *csr)
        return spmm_self.below(x, self_weight, *csr)  # type: ignore[no-any-return]

    @staticmethod
    @backward_pass
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, self_weight, *csr = kept(ctx)
        grad_x = _self_backward(grad, self_weight, *csr) if ctx.needs_input_grad[X] else None
        return (grad_x, torch.dot(grad.reshape(-1), x.reshape(-1)).view(1), *[None] * PARTS)


class _SpmmQuantized(torch.autograd.Function):
    """Keeps x where a gradient depends on it: every one but that of x with an estimator that passes all."""

    @staticmethod
    def forward(ctx: Any, *args: Any) -> Tensor:
        x, weight, scale, zero_point, qmin, qmax, protected, estimator, rate, low, high, *csr = args
        ctx.rest, ctx.masked = (qmin, qmax), estimator != "ste"
        ctx.estimator, ctx.noise = estimator, (rate, low, high)
        needs_x = ctx.masked or ctx.needs_input_grad[WEIGHT] or ctx.needs_input_grad[SCALE]
        keep(ctx, x if needs_x else None, weight, scale, zero_point, protected, *csr)
        return spmm_quantized.below(*args)  # type: ignore[no-any-return]

    @staticmethod
    @backward_pass
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, scale, zero_point, protected, *csr = kept(ctx)
        grid, noise = (scale, zero_point, *ctx.rest), ctx.noise
        args = (grad, x, weight, *grid, protected, ctx.estimator, *noise, *csr)
        grad_x = grad_weight = grad_scale = None
        if ctx.needs_input_grad[X]:
            grad_x = _quantized_backward(*args) if ctx.masked else _spmm_backward(grad, weight, *csr)
        if ctx.needs_input_grad[WEIGHT]:
            grad_weight = _quantized_weight_backward(*args)
        if ctx.needs_input_grad[SCALE]:
            grad_scale = _quantized_scale_backward(grad, x, weight, *grid, protected, *noise, *csr)
        return (grad_x, grad_weight, grad_scale, *[None] * (8 + PARTS))


def of_csr(function: Any) -> Any:
    """A function (csr, ...) with an operator's arguments: the tensors of a CSR last, noise as numbers before them."""

    def plain(*args: Any) -> Any:
        return function(CSR(*args[-PARTS:]), *args[:-PARTS])

    return plain


def of_csr_and_noise(function: Any) -> Any:
    def plain(*args: Any) -> Any:
        noise = Noise(*args[-PARTS - 3 : -PARTS])
        return function(CSR(*args[-PARTS:]), *args[: -PARTS - 3], None if noise.rate == 1.0 else noise)

    return plain


def _targets_like(x: Tensor, *args: Any) -> Tensor:
    rowptr = args[-PARTS]
    return x.new_empty(rowptr.size(0) - 1, *x.shape[1:])


def _sources_like(grad: Tensor, *args: Any) -> Tensor:
    t_rowptr = args[-PARTS + 3]
    return grad.new_empty(t_rowptr.size(0) - 1, *grad.shape[1:])


spmm = Operator(
    f"spmm(Tensor x, Tensor? weight, {CSR_PARTS}) -> Tensor",
    of_csr(reference.spmm),
    _targets_like,
    _Spmm,
    (X, WEIGHT),
)
_spmm_backward = Operator(
    f"spmm_backward(Tensor grad, Tensor? weight, {CSR_PARTS}) -> Tensor", of_csr(gradients.spmm), _sources_like
)
_weight_backward = Operator(
    f"spmm_weight_backward(Tensor grad, Tensor x, Tensor weight, {CSR_PARTS}) -> Tensor",
    of_csr(lambda csr, grad, x, weight: gradients.spmm_weight(csr, grad, x)),
    lambda grad, x, weight, *_: grad.new_empty(weight.shape),
)
spmm_self = Operator(
    f"spmm_self(Tensor x, Tensor self_weight, {CSR_PARTS}) -> Tensor",
    of_csr(reference.spmm_self),
    _targets_like,
    _SpmmSelf,
    (X, WEIGHT),
)
_self_backward = Operator(
    f"spmm_self_backward(Tensor grad, Tensor self_weight, {CSR_PARTS}) -> Tensor",
    of_csr(gradients.spmm_self),
    _sources_like,
)
_ROUNDED = f"Tensor x, Tensor? weight, {GRID}, Tensor? protected, str estimator, {NOISE}, {CSR_PARTS}"
spmm_quantized = Operator(
    f"spmm_quantized({_ROUNDED}) -> Tensor",
    of_csr_and_noise(reference.spmm_quantized),
    _targets_like,
    _SpmmQuantized,
    (X, WEIGHT, SCALE),
)
_quantized_backward = Operator(
    f"spmm_quantized_backward(Tensor grad, {_ROUNDED}) -> Tensor",
    of_csr_and_noise(gradients.spmm_quantized),
    _sources_like,
)
_quantized_weight_backward = Operator(
    f"spmm_quantized_weight_backward(Tensor grad, {_ROUNDED}) -> Tensor",
    of_csr_and_noise(gradients.spmm_quantized_weight),
    lambda grad, x, weight, *_: grad.new_empty(weight.shape),
)
_quantized_scale_backward = Operator(
    f"spmm_quantized_scale_backward(Tensor grad, {_ROUNDED.replace(', str estimator', '')}) -> Tensor",
    of_csr_and_noise(gradients.spmm_quantized_scale),
    lambda grad, *_: grad.new_empty(()),
)
