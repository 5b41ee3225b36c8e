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

    x: [N, C, ...]. Statistics are computed in float64, as torch adds on the CPU. Raises ValueError for one row in all.
    """
    if not training:
        return F.batch_norm(x, running_mean, running_var, weight, bias, False, momentum, eps)
    shape = _of_channels(x)
    moments: tuple[Tensor, Tensor, Tensor] = _Moments.apply(x, ranks)  # type: ignore[no-untyped-call]
    mean, variance, count = moments
    if running_mean is not None and running_var is not None:
        with torch.no_grad():
            running_mean.lerp_(mean.to(running_mean), momentum)
            running_var.lerp_((variance * (count / (count - 1))).to(running_var), momentum)
    factor: Tensor = torch.rsqrt(variance + eps).to(x.dtype)
    factor = factor if weight is None else factor * weight
    shift = -mean.to(x.dtype) * factor if bias is None else bias - mean.to(x.dtype) * factor
    return x * factor.view(shape) + shift.view(shape)


class _Moments(torch.autograd.Function):
    """Mean and variance of each channel over the rows of all processes, float64 [C], and the number of rows.

    Each process tells its number n_r, mean m_r and sum of squared differences M_r, once. Chan et al. 1979: the sum of
    squares around the common mean m is the sum of M_r + n_r (m_r - m)^2. The backward pass adds the gradients of all
    processes, once.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, ranks: Ranks) -> tuple[Tensor, Tensor, Tensor]:
        channels, shape = x.size(1), _of_channels(x)
        dims = [dim for dim in range(x.dim()) if dim != 1]
        own = x.new_tensor([x.numel() // max(1, channels)], dtype=torch.float64)
        mean = x.sum(dims, dtype=torch.float64) / own.clamp(min=1)
        squares = (x - mean.view(shape)).square().sum(dims)
        told = torch.stack(ranks.gathered(torch.cat([own, mean, squares])))
        counts, means, all_squares = torch.split(told, [1, channels, channels], dim=1)
        count = counts.sum()
        if count < 2:
            raise ValueError("Expected more than 1 value per channel when training")
        mean = (counts * means).sum(0) / count
        variance = (all_squares + counts * (means - mean).square()).sum(0) / count
        ctx.save_for_backward(x, mean)
        ctx.ranks, ctx.count = ranks, count
        ctx.mark_non_differentiable(count)
        return mean, variance, count

    @staticmethod
    def backward(ctx: Any, of_mean: Tensor, of_variance: Tensor, _: Tensor) -> tuple[Tensor, None]:
        x, mean = ctx.saved_tensors
        shape = _of_channels(x)
        summed = ctx.ranks.summed(torch.cat([of_mean, of_variance])) / ctx.count
        to_mean, to_variance = (each.view(shape) for each in summed.chunk(2))
        return (to_mean + 2 * to_variance * (x - mean.view(shape))).to(x.dtype), None


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
