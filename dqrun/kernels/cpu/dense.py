"""`linear`: oneDNN's matrix product, which takes half the time of torch's default for the tall matrices of a graph."""

from __future__ import annotations

import os
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dqrun.kernels.cpu.outer import sum_outer

SMALLEST_PRODUCT = 2**20  # multiplications from which oneDNN's longer way to its kernel pays
_backend: Any = torch.backends.mkldnn  # untyped in torch
# oneDNN, and torch's layer above it, keep code and memory of 0.3 to 5 MB for each shape that they have met, a thousand
# of them unless told otherwise. Every batch of graphs has a shape of its own, and what is kept splits the heap: a
# process of 0.7 GB had taken 6 after 100 epochs of REDDIT-BINARY
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "32")
os.environ.setdefault("LRU_CACHE_CAPACITY", "32")
_HAS_ONEDNN = _backend.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def _product(x: Tensor, weight: Tensor, bias: Tensor | None, relu: bool) -> Tensor:
    """x weight^T + bias, through the one name in torch that is not public and may go; then torch's own product."""
    if _HAS_ONEDNN and x.numel() * weight.size(0) >= SMALLEST_PRODUCT:
        after = "relu" if relu else "none"
        fused: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, after, [], "")
        return fused
    y = F.linear(x, weight, bias)
    return y.relu_() if relu else y


def linear(x: Tensor, weight: Tensor, bias: Tensor | None, relu: bool) -> Tensor:
    return _product(x, weight.contiguous(), bias, relu)


def linear_weight_backward(grad: Tensor, x: Tensor) -> Tensor:
    return sum_outer(grad, x) if grad.numel() * x.size(1) >= SMALLEST_PRODUCT else grad.t() @ x
