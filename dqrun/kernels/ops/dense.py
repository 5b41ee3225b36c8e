"""`linear` and `dropout`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dqrun.kernels import reference
from dqrun.kernels.operator import Operator, backward_pass
from dqrun.kernels.ops.kept import CODED, decoded, keep, kept


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, relu: bool) -> Tensor:
        y: Tensor = linear.below(x, weight, bias, relu)
        keep(ctx, x if ctx.needs_input_grad[1] else None, weight, y if relu else None)
        return y

    @staticmethod
    @backward_pass
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, y = kept(ctx, decoded=False)
        if y is not None:
            grad = torch.ops.aten.threshold_backward(grad, y, 0)
        grad_bias = grad.sum(0) if ctx.needs_input_grad[2] else None
        grad_x = linear.below(grad, weight.t(), None, False) if ctx.needs_input_grad[0] else None
        if isinstance(x, tuple):
            grad_weight = _coded_weight_backward(grad, *x)
        else:
            grad_weight = None if x is None else _weight_backward(grad, x)
        return grad_x, grad_weight, grad_bias, None


class _Dropout(torch.autograd.Function):
    """The backward pass applies the same mask."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, p: float, seed: Tensor) -> Tensor:
        ctx.p = p
        ctx.save_for_backward(seed)
        return dropout.below(x, p, seed)  # type: ignore[no-any-return]

    @staticmethod
    @backward_pass
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return dropout.below(grad, ctx.p, *ctx.saved_tensors), None, None


linear = Operator(
    "linear(Tensor x, Tensor weight, Tensor? bias, bool relu) -> Tensor",
    reference.linear,
    lambda x, weight, *_: x.new_empty(x.size(0), weight.size(0)),
    _Linear,
    (0, 1, 2),
)
_weight_backward = Operator(
    "linear_weight_backward(Tensor grad, Tensor x) -> Tensor",
    lambda grad, x: grad.t() @ x,
    lambda grad, x: grad.new_empty(grad.size(1), x.size(1)),
)
_coded_weight_backward = Operator(
    f"linear_coded_weight_backward(Tensor grad, {CODED}) -> Tensor",
    lambda grad, *coded: grad.t() @ decoded(*coded),
    lambda grad, *coded: grad.new_empty(grad.size(1), coded[-1][1]),
)
dropout = Operator(
    "dropout(Tensor x, float p, Tensor seed) -> Tensor",
    lambda x, p, seed: reference.dropout(x, p, *seed),
    lambda x, *_: x.new_empty(x.shape),
    _Dropout,
    (0,),
)
