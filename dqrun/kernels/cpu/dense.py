"""`linear`: oneDNN's matrix product, which takes half the time of torch's default for the tall matrices of a graph."""

from __future__ import annotations

import os
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dqrun.kernels.cpu.codes import decode
from dqrun.kernels.cpu.outer import sum_outer, sum_outer_coded

SMALLEST_PRODUCT = 2**20  # number of multiplications from which oneDNN is faster despite its longer call
_backend: Any = torch.backends.mkldnn  # untyped in torch
# oneDNN, and torch's layer above it, cache code and memory of 0.3 to 5 MB for each shape, by default for a thousand
# shapes. Every batch of graphs has another shape, and the caches fragment the heap: a process of 0.7 GB grew to 6 GB
# in 100 epochs of REDDIT-BINARY
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "32")
os.environ.setdefault("LRU_CACHE_CAPACITY", "32")
_HAS_ONEDNN = _backend.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def _product(x: Tensor, weight: Tensor, bias: Tensor | None, relu: bool) -> Tensor:
    """x weight^T + bias: a large product by oneDNN, if torch has the private function for it; else torch's own."""
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


def linear_coded_weight_backward(grad: Tensor, *coded: Any) -> Tensor:
    """coded: the arguments of `decode`."""
    width = coded[-1][1]
    if grad.numel() * width >= SMALLEST_PRODUCT:
        return sum_outer_coded(grad, width, *coded[:-1])
    return linear_weight_backward(grad, decode(*coded))
