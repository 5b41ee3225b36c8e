"""`linear`: oneDNN's matrix product, which takes half the time of torch's default for the tall matrices of a graph."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numba import prange
from torch import Tensor
from torch.autograd.function import once_differentiable

from dqrun.kernels.cpu.launch import Array, kernel, parts, scratch, share
from dqrun.kernels.cpu.outer import sum_outer

ROWS = 64  # whose gradients are summed in float32 before they join the total in float64
SMALLEST_PRODUCT = 2**20  # multiplications from which oneDNN's longer way to its kernel pays
_HAS_ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def _product(x: Tensor, weight: Tensor, bias: Tensor | None, relu: bool) -> Tensor:
    """x weight^T + bias, through the one name in torch that is not public and may go; then torch's own product."""
    if _HAS_ONEDNN and x.numel() * weight.size(0) >= SMALLEST_PRODUCT:
        after = "relu" if relu else "none"
        fused: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, after, [], "")
        return fused
    y = F.linear(x, weight, bias)
    return y.relu_() if relu else y


@kernel
def _relu_backward(grad: Array, y: Array, out: Array, sums: Array) -> None:
    """out = grad where y is not 0, else 0; sums [parts, F] float64: of out's rows in each part; all others [N, F]."""
    num_parts = sums.shape[0]
    for part in prange(num_parts):
        first, last = share(part, num_parts, grad.shape[0])
        block = np.empty(grad.shape[1], np.float32)
        sums[part, :] = 0
        for start in range(first, last, ROWS):
            block[:] = 0
            for row in range(start, min(start + ROWS, last)):
                for column in range(grad.shape[1]):
                    passing = grad[row, column]
                    passing = passing if y[row, column] > 0 else np.float32(0)
                    out[row, column] = passing
                    block[column] += passing
            for column in range(grad.shape[1]):
                sums[part, column] += block[column]


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, relu: bool) -> Tensor:
        y = _product(x, weight, bias, relu)
        ctx.save_for_backward(x, weight, y if relu else None)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, y = ctx.saved_tensors
        if y is None:
            grad_bias = grad.sum(0)
        else:
            out = torch.empty(grad.shape)
            sums = scratch((parts(grad.numel()), grad.size(1)), torch.float64)
            _relu_backward(grad.contiguous().numpy(), y.numpy(), out.numpy(), sums)
            grad, grad_bias = out, torch.from_numpy(sums.sum(0, dtype=np.float64).astype(np.float32))
        grad_x = _product(grad, weight.t().contiguous(), None, False) if ctx.needs_input_grad[0] else None
        large = grad.numel() * x.size(1) >= SMALLEST_PRODUCT
        return grad_x, sum_outer(grad, x) if large else grad.t() @ x, grad_bias, None


def linear(x: Tensor, weight: Tensor, bias: Tensor, relu: bool = False) -> Tensor:
    y: Tensor = _Linear.apply(x, weight, bias, relu)  # type: ignore[no-untyped-call]
    return y
