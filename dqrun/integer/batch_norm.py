"""A batch norm in a program: a float32 factor and offset per channel."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dqrun.nn.linear import BatchNorm


def affine(norms: Sequence[BatchNorm], bias: Tensor | None) -> tuple[Tensor, Tensor]:
    """Factor and offset per channel of consecutive batch norms, from their running statistics.

    bias: float32 [C], the bias of the layer before them, or None. Returns float32 [C] each, computed in float64 and
    rounded once. PyTorch's float32 batch norm computes the same numbers, weight / sqrt(var + eps) and bias - mean *
    factor, in float32.
    """
    factor = torch.ones(1, dtype=torch.float64)
    offset = torch.zeros(1, dtype=torch.float64) if bias is None else bias.detach().cpu().double()
    for norm in norms:
        inside = norm.norm
        assert inside.running_mean is not None and inside.running_var is not None
        mean, variance = inside.running_mean.cpu().double(), inside.running_var.cpu().double()
        one = inside.weight.detach().cpu().double() / torch.sqrt(variance + inside.eps)
        factor, offset = factor * one, (offset - mean) * one + inside.bias.detach().cpu().double()
    return factor.float(), offset.float()
