"""`ClippedRounding`: rounding whose scale gets its gradient from clipped elements alone (PACT: Choi et al. 2018)."""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from torch import Tensor

from dqrun import kernels
from dqrun.quant.rounding import Rounding, UniformRounding
from dqrun.quant.scales import Quantizable
from dqrun.quant.spec import QuantSpec, Scales

T = TypeVar("T")


class ClippedRounding(Rounding):
    """As `UniformRounding` with `estimator`, but a scale that requires a gradient gets that of PACT (eq. 3).

    The ends of the grid, scale (qmin - zero_point) and scale (qmax - zero_point), are the clips. The gradient of a clip
    is the sum of the gradients of all elements beyond it. Unlike in LSQ, elements inside the grid do not contribute.
    """

    codes_of_spec = True

    def __init__(self, spec: QuantSpec, estimator: str = "clipped") -> None:
        super().__init__(spec)
        self.estimator = estimator
        self.plain = UniformRounding(spec, estimator)

    def forward(self, tensor: Quantizable[T], scales: Scales) -> T:
        if not scales.scale.requires_grad:
            return self.plain(tensor, scales)  # type: ignore[no-any-return]
        return tensor.mapped(lambda x: self._round(x, scales))

    def _round(self, x: Tensor, scales: Scales) -> Tensor:
        scale, zero_point, _ = scales
        grid = (zero_point, self.spec.qmin, self.spec.qmax)
        y = kernels.fake_quantize(x, scale.detach(), *grid, None, self.estimator)
        return _clip_gradient(y, x, scale, *grid)

    def extra_repr(self) -> str:
        return f"{self.spec}, estimator={self.estimator}"


class _ClipGradient(torch.autograd.Function):
    """Returns y unchanged and adds a gradient for the scale."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, x: Tensor, scale: Tensor, zero_point: Tensor, qmin: int, qmax: int) -> Tensor:
        ctx.save_for_backward(x, scale, zero_point)
        ctx.ends = qmin, qmax
        return y.view_as(y)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, scale, zero_point = ctx.saved_tensors
        low, high = (end - zero_point for end in ctx.ends)
        below, above = (grad[mask].sum() for mask in (x <= scale * low, x >= scale * high))
        return grad, None, below * low + above * high, None, None, None


def _clip_gradient(y: Tensor, x: Tensor, scale: Tensor, zero_point: Tensor, qmin: int, qmax: int) -> Tensor:
    args = (y, x.detach(), scale, zero_point, qmin, qmax)
    made: Tensor = _ClipGradient.apply(*args)  # type: ignore[no-untyped-call]
    return made
