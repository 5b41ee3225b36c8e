"""torch's own operations whose derivatives keep codes of rounded tensors (see `kept`): results and gradients have the
bits of torch's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor

from dqrun.kernels.operator import backward_pass
from dqrun.kernels.ops.kept import carries, keep, kept
from dqrun.kernels.places import in_parts

Gradients = tuple[Tensor | None, ...]


class _AddScaled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, factor: Tensor, x: Tensor) -> Tensor:
        keep(ctx, x if ctx.needs_input_grad[1] else None, factor)
        return torch.addcmul(a, factor, x)

    @staticmethod
    @backward_pass
    def backward(ctx: Any, grad: Tensor) -> Gradients:
        x, factor = kept(ctx)
        grad_factor = None if x is None else x.mul_(grad).sum_to_size(factor.shape)  # x: a copy of our own
        return grad, grad_factor, grad * factor if ctx.needs_input_grad[2] else None


class _BatchNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, *rest: Any) -> Tensor:
        running_mean, running_var, momentum, ctx.eps = rest
        y, mean, inverse = torch.native_batch_norm(x, weight, bias, running_mean, running_var, True, momentum, ctx.eps)
        keep(ctx, x, weight, running_mean, running_var, mean, inverse)
        return y

    @staticmethod
    @backward_pass
    def backward(ctx: Any, grad: Tensor) -> Gradients:
        x, *others = kept(ctx)
        wanted = ctx.needs_input_grad[:3]
        found = torch.ops.aten.native_batch_norm_backward(grad, x, *others, True, ctx.eps, wanted)
        return (*found, None, None, None, None)


class _HeadScores(torch.autograd.Function):
    """`_scores` and the gradients that torch derives from it."""

    @staticmethod
    def forward(ctx: Any, h: Tensor, vectors: Tensor) -> Tensor:
        keep(ctx, h, vectors)
        return _scores(h, vectors)

    @staticmethod
    @backward_pass
    def backward(ctx: Any, grad: Tensor) -> Gradients:
        h, vectors = kept(ctx)
        if h.size(1) == 1:
            grad_h, grad_vectors = _gradients(h, vectors, grad.permute(2, 1, 0), ctx.needs_input_grad)
        else:
            wanted = ctx.needs_input_grad[::-1]
            grad_vectors, grad_h = _gradients(vectors, h, grad.permute(2, 0, 1), wanted)
        return grad_h, grad_vectors


def _scores(h: Tensor, vectors: Tensor) -> Tensor:
    """torch.einsum("nhc,shc->snh") without its analysis of the string; the factors are in its order (torch 2.13)."""
    if h.size(1) == 1:
        return _products(h, vectors).permute(2, 1, 0)
    return _products(vectors, h).permute(1, 2, 0)


def _products(a: Tensor, b: Tensor) -> Tensor:
    """a [A, H, C] times b [B, H, C], summed over C: [H, A, B]."""
    return a.transpose(0, 1).bmm(b.permute(1, 2, 0))


def _gradients(a: Tensor, b: Tensor, grad: Tensor, wanted: Sequence[bool]) -> Gradients:
    """The gradients of `_products`, grad [H, A, B]; None for one that is not wanted."""
    grad_a = grad.bmm(b.transpose(0, 1)).transpose(0, 1) if wanted[0] else None
    grad_b = a.permute(1, 2, 0).bmm(grad).permute(2, 0, 1) if wanted[1] else None
    return grad_a, grad_b


def add_scaled(a: Tensor, factor: Tensor, x: Tensor) -> Tensor:
    """a + factor * x: a and x of one shape, factor [1]."""
    derives = carries(x) and torch.is_grad_enabled()
    return cast(Tensor, _AddScaled.apply(a, factor, x)) if derives else torch.addcmul(a, factor, x)  # type: ignore[no-untyped-call]


def batch_norm(x: Tensor, norm: torch.nn.BatchNorm1d) -> Tensor:
    """The output of the module for float32 x [N, C]; if x is a part of a batch, by the module itself (`ranks.step`)."""
    derives = carries(x) and norm.training and torch.is_grad_enabled() and not in_parts()
    if not (derives and norm.affine and norm.momentum is not None):
        return cast(Tensor, norm(x))
    assert norm.num_batches_tracked is not None
    norm.num_batches_tracked.add_(1)
    running = norm.running_mean, norm.running_var, norm.momentum, norm.eps
    return cast(Tensor, _BatchNorm.apply(x, norm.weight, norm.bias, *running))  # type: ignore[no-untyped-call]


def head_scores(h: Tensor, vectors: Tensor) -> Tensor:
    """h [N, H, C] times vectors [S, H, C], summed over channels: [S, N, H]."""
    derives = carries(h) and torch.is_grad_enabled()
    return cast(Tensor, _HeadScores.apply(h, vectors)) if derives else _scores(h, vectors)  # type: ignore[no-untyped-call]
