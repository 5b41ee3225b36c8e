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

    x: [N, C, ...]. Two sums over the processes, in float64, as torch adds on the CPU, and two in the backward pass.
    Raises ValueError for one row in all.
    """
    if not training:
        return F.batch_norm(x, running_mean, running_var, weight, bias, False, momentum, eps)
    dims = [dim for dim in range(x.dim()) if dim != 1]
    count = ranks.total(float(x.numel() // max(1, x.size(1))))
    if count < 2:
        raise ValueError("Expected more than 1 value per channel when training")
    shape = [-1 if dim == 1 else 1 for dim in range(x.dim())]
    mean = ranks.summed(x.sum(dims, dtype=torch.float64)) / count
    variance = ranks.summed((x - mean.view(shape)).square().sum(dims)) / count
    if running_mean is not None and running_var is not None:
        with torch.no_grad():
            running_mean.lerp_(mean.to(running_mean), momentum)
            running_var.lerp_((variance * (count / (count - 1))).to(running_var), momentum)
    factor = torch.rsqrt(variance + eps).to(x.dtype)
    factor = factor if weight is None else factor * weight
    shift = -mean.to(x.dtype) * factor if bias is None else bias - mean.to(x.dtype) * factor
    return x * factor.view(shape) + shift.view(shape)


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
