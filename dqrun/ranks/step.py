"""A training step on a part of a batch that computes what it would compute on all of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from dqrun import kernels
from dqrun.ranks.alone import ALONE, Ranks


class WholeBatch(TorchFunctionMode):
    """Inside it batch norm takes the statistics of all processes, and dropout the mask that all together would have.

    Whatever calls `torch.nn.functional.batch_norm` and `dropout` is reached, networks of the user's too.
    """

    def __init__(self, ranks: Ranks) -> None:
        super().__init__()
        self.ranks = ranks

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is F.batch_norm:
            return shared_batch_norm(self.ranks, *args, **kwargs)
        if func is F.dropout:
            return shared_dropout(self.ranks, *args, **kwargs)
        return func(*args, **kwargs)


def shared_dropout(ranks: Ranks, x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """`torch.nn.functional.dropout` of rows of which the other processes have theirs: each draws the mask of all."""
    if not training or p == 0.0:
        return F.dropout(x, p, training, inplace)
    first, total = ranks.place(x.size(0))
    kept = F.dropout(x.new_ones(total, *x.shape[1:]), p, True)
    return x * kept[first : first + x.size(0)]


def shared_batch_norm(
    ranks: Ranks,
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """`torch.nn.functional.batch_norm`, in training with the mean and variance of the rows of all processes.

    x: [N, C, ...]. Raises ValueError for one row in all.
    """
    if not training:
        return F.batch_norm(x, running_mean, running_var, weight, bias, False, momentum, eps)
    normed: tuple[Tensor, ...] = _SharedNorm.apply(x, weight, bias, ranks, eps)  # type: ignore[no-untyped-call]
    y, mean, variance, count = normed
    if running_mean is not None and running_var is not None:
        with torch.no_grad():
            running_mean.lerp_(mean.to(running_mean), momentum)
            running_var.lerp_((variance * (count / (count - 1))).to(running_var), momentum)
    return y


class _SharedNorm(torch.autograd.Function):
    """y = (x - m) / sqrt(v + eps) * weight + bias, with mean m and variance v of the rows of all processes; m and v,
    float64 [C]; the number of rows.

    Each process tells its number of rows n_r, mean m_r and sum of squared differences M_r, once. The sum of squares
    around the common mean is the sum of M_r + n_r (m_r - m)^2 (Chan, Golub and LeVeque 1979). The backward pass adds
    two sums per channel over all processes, once.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, ranks: Ranks, eps: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        channels, shape = x.size(1), _of_channels(x)
        own = x.new_zeros(2 * channels + 1, dtype=torch.float64)
        if number := x.numel() // max(1, channels):
            own[0], own[1 : channels + 1], own[channels + 1 :] = number, *_moments(x, eps)
            own[channels + 1 :] *= number
        told = torch.stack(ranks.gathered(own))
        counts, means, squares = torch.split(told, [1, channels, channels], dim=1)
        count = counts.sum()
        if count < 2:
            raise ValueError("Expected more than 1 value per channel when training")
        mean = (counts * means).sum(0) / count
        variance = (squares + counts * (means - mean).square()).sum(0) / count
        inverse = torch.rsqrt(variance + eps)
        factor = inverse if weight is None else inverse * weight
        shift = -mean * factor if bias is None else bias - mean * factor
        ctx.save_for_backward(x, mean, inverse, factor)
        ctx.ranks, ctx.count, ctx.given = ranks, count, (weight is not None, bias is not None)
        ctx.mark_non_differentiable(mean, variance, count)
        y = torch.addcmul(shift.to(x.dtype).view(shape), x, factor.to(x.dtype).view(shape))
        return y, mean, variance, count

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        x, mean, inverse, factor = ctx.saved_tensors
        shape = _of_channels(x)
        dims = [dim for dim in range(x.dim()) if dim != 1]
        centred = x - mean.to(x.dtype).view(shape)
        sums = torch.stack([grad.sum(dims), (grad * centred).sum(dims)])
        of_grad, of_centred = ctx.ranks.summed(sums.double()) / ctx.count

        def per_channel(numbers: Tensor) -> Tensor:
            return numbers.to(x.dtype).view(shape)

        of_x = torch.addcmul(per_channel(-factor * of_grad), grad, per_channel(factor))
        of_x.addcmul_(centred, per_channel(-factor * inverse.square() * of_centred))
        has_weight, has_bias = ctx.given
        of_weight = (sums[1] * inverse).to(x.dtype) if has_weight else None
        return of_x, of_weight, sums[0] if has_bias else None, None, None


def _moments(x: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """Mean and variance of each channel, float64 [C], from torch's kernel, which returns (variance + eps)^-1/2."""
    _, mean, inverse = torch.native_batch_norm(x, None, None, None, None, True, 0.0, eps)
    inverse = inverse.double()
    variance = torch.where(inverse == 0, 0.0, inverse.square().reciprocal() - eps)  # 0: no variance, and eps is 0
    return mean.double(), variance.clamp(min=0)


def _of_channels(x: Tensor) -> list[int]:
    """The shape in which a tensor [C] multiplies x, [N, C, ...]."""
    return [-1 if dim == 1 else 1 for dim in range(x.dim())]


@contextmanager
def whole_batch(ranks: Ranks, parts: Sequence[Any]) -> Iterator[None]:
    """Inside it each of `parts`, which has an attribute `ranks`, knows the other processes."""
    for part in parts:
        part.ranks = ranks
    try:
        with WholeBatch(ranks), kernels.rows_of_all(ranks.place):
            yield
    finally:
        for part in parts:
            part.ranks = ALONE
