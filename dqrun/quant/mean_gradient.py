"""`MeanGradientRounding`: rounding whose scale has the gradient of MixQ-GNN's released code."""

from __future__ import annotations

from typing import Any, TypeVar, cast

import torch
from torch import Tensor

from dqrun.kernels.combine import values_of, with_values
from dqrun.quant.rounding import UniformRounding
from dqrun.quant.scales import Quantizable
from dqrun.quant.spec import Scales

T = TypeVar("T")


class MeanGradientRounding(UniformRounding):
    """`UniformRounding`, but the gradient of a scale s is the mean of g x / s over the numbers that share it.

    That is what `FakeQuantize.backward` of MixQ-GNN's released code computes (github.com/SamirMoustafa/MixQ). The
    derivative of s round(x / s) is round(x / s) - x / s inside the grid and an end code outside (LSQ, eq. 3): without
    the first term a scale follows the size of x. The class exists to reproduce published results.
    """

    def forward(self, tensor: Quantizable[T], scales: Scales) -> T:
        rounded: Any = super().forward(tensor, scales._replace(scale=scales.scale.detach()))
        exact: Any = tensor.exact()
        given = values_of(rounded), scales.scale, values_of(exact), self.ranks.total(tensor.count)
        return cast(T, with_values(rounded, _MeanGradient.apply(*given)))  # type: ignore[no-untyped-call]


class _MeanGradient(torch.autograd.Function):
    """Returns y and adds a gradient to a scale. `count`: number of elements; each scale has an equal share of them."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, scale: Tensor, exact: Tensor, count: float) -> Tensor:
        ctx.save_for_backward(scale, exact)
        ctx.count = count
        return y.view_as(y)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        scale, exact = ctx.saved_tensors
        terms = grad * exact / scale
        total = terms.sum_to_size(scale.shape) if scale.dim() else terms.sum()
        return grad, total * (scale.numel() / ctx.count), None, None
