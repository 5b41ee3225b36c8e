"""One bit: rounding to two levels, the scales with the least squared error, and gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar, cast

import torch
from torch import Tensor
from torch.autograd import Function

from dqrun.kernels.grid_of_range import SMALLEST_SCALE
from dqrun.quant.estimators import SignEstimator
from dqrun.quant.rounding import Rounding
from dqrun.quant.scales import Quantizable, ScaleProvider
from dqrun.quant.spec import QuantSpec, Scales
from dqrun.quant.values import Values

T = TypeVar("T")


class MeanScale(ScaleProvider):
    """mean|x| over the elements that share a scale: the least squared error of `scale * sign(x)` (XNOR-Net: Rastegari
    et al., ECCV 2016, eq. 6).

    Computed from the tensor in each call, in training and in evaluation. `shape`: of the scales of a weight, () for one
    scale; an activation has one for each row, [N, 1, ...]. `follows`: the gradient of a scale passes on to x.
    """

    def __init__(self, spec: QuantSpec, shape: tuple[int, ...] = (), follows: bool = False) -> None:
        super().__init__(spec)
        self.shape, self.follows = shape, follows

    def forward(self, tensor: Quantizable[object]) -> Scales:
        x = values_of(tensor).x
        x = x if self.follows else x.detach()
        if self.spec.granularity.per_row:
            size = torch.linalg.vector_norm(x, 1, tuple(range(1, x.dim())), keepdim=True)
            scale = size / max(1, x[:1].numel())
        else:
            scale = mean_to(x.abs(), self.shape)
        scale = scale.clamp(min=SMALLEST_SCALE)
        return Scales(scale, torch.zeros_like(scale, dtype=torch.int32))


class SignRounding(Rounding):
    """`scale * sign(x)`. `estimator` defines the sign and the slope that replaces its derivative.

    The gradient of the scale is that of the product: the sum of gradient times sign over the elements that share it.
    The gradient of x is multiplied by scale times slope with `xnor` (Rastegari et al. 2016, section 3.1), else by the
    slope alone, as if the whole quantiser approximated the identity. `soft`, a switch for early epochs: tanh in place
    of the sign, with its own gradient.
    """

    def __init__(self, spec: QuantSpec, estimator: SignEstimator | None = None, xnor: bool = False) -> None:
        super().__init__(spec)
        self.estimator, self.xnor = SignEstimator() if estimator is None else estimator, xnor
        self.codes_of_spec = not spec.granularity.per_row  # a program has no sign codes for rows
        self.soft = False

    def forward(self, tensor: Quantizable[T], scales: Scales) -> T:
        values = values_of(tensor)
        if self.soft:
            return cast(T, finished(values, scales.scale * values.x.tanh()))
        rounded = signs(values.x, scales.scale, self.estimator, self.xnor)
        return cast(T, finished(values, rounded))

    def encode(self, x: Tensor, scales: Scales) -> Tensor:
        return torch.where(self.estimator.positive(x), 1, -1).to(torch.int32)

    def extra_repr(self) -> str:
        return f"{self.spec}, xnor={self.xnor}"


class BoolRounding(Rounding):
    """Two levels, 0 below a threshold and one value from it on: for nonnegative values and attention coefficients.

    A group is a row, or for attention coefficients the edges into a node. `rule` "mean": the threshold is the mean of
    the group; the upper level is the mean of its elements from the threshold on, which minimises the squared error
    (BiViT does so after a softmax: He et al., ICCV 2023). "balanced": the threshold is the geometric mean of the group,
    so that an attention coefficient is kept if its logit is at least the mean logit; the elements kept share the
    group's sum equally (after BiBERT's Bi-Attention, which has no softmax: Qin et al., ICLR 2022).

    Gradient to x: the estimator's slope at x - threshold.
    """

    def __init__(self, spec: QuantSpec, estimator: SignEstimator | None = None, rule: str = "mean") -> None:
        super().__init__(spec)
        self.estimator, self.rule = SignEstimator() if estimator is None else estimator, rule

    def forward(self, tensor: Quantizable[T], scales: Scales) -> T:
        values = values_of(tensor)
        threshold, level = self.levels(values)
        rounded: Any = _Levels.apply(values.x, threshold, level, self.estimator)  # type: ignore[no-untyped-call]
        return cast(T, finished(values, rounded))

    @torch.no_grad()
    def levels(self, values: Values[Tensor]) -> tuple[Tensor, Tensor]:
        """Threshold and upper level of each element; they broadcast to x."""
        x = values.x
        if self.rule == "balanced":
            threshold = values.group_mean(x.clamp(min=SMALLEST_SCALE).log()).exp()
            threshold = threshold * (1 - 1e-6)  # so that rounding of exp(log) never drops elements that are all equal
            kept, total = (x >= threshold).to(x.dtype), x
        else:
            threshold = values.group_mean(x) * (1 - 1e-6)
            kept = (x >= threshold).to(x.dtype)
            total = x * kept
        return threshold, values.group_mean(total) / values.group_mean(kept).clamp(min=SMALLEST_SCALE)

    def extra_repr(self) -> str:
        return f"{self.spec}, rule={self.rule}"


class NoScale(ScaleProvider):
    """Scale 1, for roundings that compute their levels themselves."""

    def forward(self, tensor: Quantizable[object]) -> Scales:
        one = torch.ones((), device=values_of(tensor).x.device)
        return Scales(one, torch.zeros_like(one, dtype=torch.int32))


class _Signs(Function):
    """`SignRounding`; saves x and the scale."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, estimator: SignEstimator, xnor: bool) -> Tensor:
        ctx.save_for_backward(x, scale)
        ctx.estimator, ctx.xnor = estimator, xnor
        return torch.where(estimator.positive(x), scale, -scale)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,), (x, scale) = gradients, ctx.saved_tensors
        of_x = of_scale = None
        if ctx.needs_input_grad[0]:
            slope = ctx.estimator.slope(x)
            of_x = gradient if slope is None else gradient * slope
            of_x = of_x * scale if ctx.xnor else of_x
        if ctx.needs_input_grad[1]:
            of_scale = torch.where(ctx.estimator.positive(x), gradient, -gradient).sum_to_size(scale.shape)
        return of_x, of_scale, None, None


class _Levels(Function):
    """`BoolRounding`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, threshold: Tensor, level: Tensor, estimator: SignEstimator) -> Tensor:
        ctx.save_for_backward(x, threshold)
        ctx.estimator = estimator
        return torch.where(x >= threshold, level, 0.0)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,), (x, threshold) = gradients, ctx.saved_tensors
        slope = ctx.estimator.slope(x - threshold)
        return gradient if slope is None else gradient * slope, None, None, None


def signs(x: Tensor, scale: Tensor, estimator: SignEstimator, xnor: bool) -> Tensor:
    """`scale * sign(x)` with the gradients of `SignRounding`; the scale broadcasts to x."""
    return cast(Tensor, _Signs.apply(x, scale, estimator, xnor))  # type: ignore[no-untyped-call]


def mean_to(x: Tensor, shape: Sequence[int]) -> Tensor:
    """Means of x with the result's `shape`, which broadcasts to x; () for the mean of all elements."""
    return x.sum_to_size(*shape) * (max(1, torch.Size(shape).numel()) / max(1, x.numel())) if shape else x.mean()


def values_of(tensor: Quantizable[Any]) -> Values[Tensor]:
    """The tensor to round, sparse rows made dense: zeros have a sign too (0 counts as positive)."""
    assert isinstance(tensor, Values), "messages with weights have the scales of their rows at one bit"
    return tensor.dense()


def finished(values: Values[Tensor], rounded: Tensor) -> Tensor:
    """The output of a quantiser: protected rows unchanged, then a ReLU where one follows."""
    if values.protected is not None:
        exact = values.protected.view(-1, *[1] * (rounded.dim() - 1))
        rounded = torch.where(exact, values.x, rounded)
    return rounded.relu() if values.relu else rounded
