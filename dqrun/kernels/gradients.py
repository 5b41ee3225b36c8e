"""Gradients in plain torch: the definitions of the operators of backward passes.

A function belongs to that of the same name in `reference` (`spmm_weight` to the weight of `spmm`). It computes the
gradient that autograd derives there; tests compare both. `grad` is the gradient of that function's result, of the same
shape and type.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dqrun.graphs import CSR
from dqrun.kernels import reference
from dqrun.kernels.noise import Noise
from dqrun.kernels.reference import gradient_codes, of_rows

WORD = 32  # bits of a word of a mask


def cachemask(
    x: Tensor,
    scale: Tensor,
    zero_point: Tensor,
    qmin: int,
    qmax: int,
    protected: Tensor | None,
    estimator: str,
    relu: bool,
    noise: Noise | None,
) -> tuple[Tensor, Tensor]:
    """`fake_quantize` and where its gradient passes, in bits: int32 [ceil(elements / 32)], the lowest bit first."""
    y = reference.fake_quantize(x, scale, zero_point, qmin, qmax, protected, estimator, relu, noise)
    let_pass = passes(x, scale, zero_point, qmin, qmax, protected, estimator, noise)
    return y, pack(let_pass & ~(y <= 0) if relu else let_pass)


def pack(flags: Tensor) -> Tensor:
    """Flags, 32 in a word."""
    padded = torch.nn.functional.pad(flags.flatten().long(), (0, -flags.numel() % WORD)).view(-1, WORD)
    words = (padded << torch.arange(WORD, device=flags.device)).sum(1)
    return torch.where(words < 2**31, words, words - 2**32).to(torch.int32)


def where_set(grad: Tensor, mask: Tensor) -> Tensor:
    """grad where its bit of a mask is set, else 0."""
    flags = (mask.unsqueeze(1) >> torch.arange(WORD, device=mask.device)) & 1
    return grad.where(flags.flatten()[: grad.numel()].view(grad.shape) == 1, 0.0)


def fake_quantize_scale(
    grad: Tensor,
    x: Tensor,
    scale: Tensor,
    zero_point: Tensor,
    qmin: int,
    qmax: int,
    protected: Tensor | None,
    relu: bool,
    noise: Noise | None,
) -> Tensor:
    """Gradient of the scale, 0-d."""
    exact = _exact(x, protected, noise)
    slope = reference.step_slope(x, scale, qmin - zero_point, qmax - zero_point, exact)
    if relu:
        rounded = reference.fake_quantize(x, scale, zero_point, qmin, qmax)
        slope = slope.masked_fill(rounded <= 0, 0.0)
    return (grad * slope).sum()


def fake_quantize_broadcast(
    grad: Tensor, x: Tensor, scale: Tensor, zero_point: Tensor, qmin: int, qmax: int, estimator: str
) -> Tensor:
    """Gradient of x, by an estimator that clips."""
    return grad.where(passes(x, scale, zero_point, qmin, qmax, None, estimator, None), 0.0)


def fake_quantize_broadcast_scale(
    grad: Tensor, x: Tensor, scale: Tensor, zero_point: Tensor, qmin: int, qmax: int
) -> Tensor:
    """Gradient of the scales, of their shape."""
    slope = reference.step_slope(x, scale, qmin - zero_point, qmax - zero_point, None)
    return (grad * slope).sum_to_size(scale.shape)


def spmm(csr: CSR, grad: Tensor, weight: Tensor | None) -> Tensor:
    """Gradient of x."""
    edges = _of_targets(csr, grad)
    return _sum_by_source(csr, edges if weight is None else edges * weight.unsqueeze(-1))


def spmm_weight(csr: CSR, grad: Tensor, x: Tensor) -> Tensor:
    """Gradient of the weights, [E] or [E, H]."""
    return (_of_targets(csr, grad) * x.index_select(0, csr.col)).sum(-1)


def spmm_self(csr: CSR, grad: Tensor, self_weight: Tensor) -> Tensor:
    """Gradient of x."""
    return torch.addcmul(spmm(csr, grad, None), self_weight, grad)


def spmm_quantized(
    csr: CSR,
    grad: Tensor,
    x: Tensor,
    weight: Tensor | None,
    scale: Tensor,
    zero_point: Tensor,
    qmin: int,
    qmax: int,
    protected: Tensor | None,
    estimator: str,
    noise: Noise | None,
) -> Tensor:
    """Gradient of x."""
    edges = _of_messages(csr, grad, x, weight, scale, zero_point, qmin, qmax, protected, estimator, noise)
    return _sum_by_source(csr, edges if weight is None else edges * weight.unsqueeze(-1))


def spmm_quantized_weight(
    csr: CSR,
    grad: Tensor,
    x: Tensor,
    weight: Tensor | None,
    scale: Tensor,
    zero_point: Tensor,
    qmin: int,
    qmax: int,
    protected: Tensor | None,
    estimator: str,
    noise: Noise | None,
) -> Tensor:
    """Gradient of the weights."""
    edges = _of_messages(csr, grad, x, weight, scale, zero_point, qmin, qmax, protected, estimator, noise)
    return (edges * x.index_select(0, csr.col)).sum(-1)


def spmm_quantized_scale(
    csr: CSR,
    grad: Tensor,
    x: Tensor,
    weight: Tensor | None,
    scale: Tensor,
    zero_point: Tensor,
    qmin: int,
    qmax: int,
    protected: Tensor | None,
    noise: Noise | None,
) -> Tensor:
    """Gradient of the scale, 0-d."""
    messages, exact = _messages(csr, x, weight, protected)
    edges = _of_targets(csr, grad)
    return fake_quantize_scale(edges, messages, scale, zero_point, qmin, qmax, exact, False, noise)


def edge_add(csr: CSR, grad: Tensor) -> tuple[Tensor, Tensor]:
    """Gradient of the sources and of the targets."""
    targets = grad.new_zeros(csr.num_nodes, grad.size(1)).index_add_(0, csr.row, grad)
    return _sum_by_source(csr, grad), targets


def edge_softmax(csr: CSR, grad: Tensor, y: Tensor) -> Tensor:
    """Gradient of the logits; y: the coefficients."""
    product = y * grad
    total = product.new_zeros(csr.num_nodes, y.size(1)).index_add_(0, csr.row, product)
    return y * (grad - total.index_select(0, csr.row))


def _messages(csr: CSR, x: Tensor, weight: Tensor | None, protected: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """What edges carry, and which edges stay FP32."""
    return reference.messages(csr, x, weight), None if protected is None else protected[csr.col]


def _of_messages(
    csr: CSR, grad: Tensor, x: Tensor, weight: Tensor | None, scale: Tensor, zero_point: Tensor, *rest: Any
) -> Tensor:
    """Gradient of the messages before their rounding; `rest`: qmin, qmax, protected, estimator, noise."""
    qmin, qmax, protected, estimator, noise = rest
    messages, exact = _messages(csr, x, weight, protected)
    let_pass = passes(messages, scale, zero_point, qmin, qmax, exact, estimator, noise)
    return _of_targets(csr, grad).where(let_pass, 0.0)


def _of_targets(csr: CSR, grad: Tensor) -> Tensor:
    """Each edge's share of the gradient: that of its target."""
    return grad.index_select(0, csr.row)


def _sum_by_source(csr: CSR, edges: Tensor) -> Tensor:
    num_sources = csr.t_rowptr.numel() - 1
    return edges.new_zeros(num_sources, *edges.shape[1:]).index_add_(0, csr.col, edges)


def _exact(x: Tensor, protected: Tensor | None, noise: Noise | None) -> Tensor | None:
    """Which elements stay FP32, of x's shape, or None: no element does."""
    exact = None if protected is None else of_rows(protected, x).expand_as(x)
    if noise is None:
        return exact
    left = ~reference.keeps(x, 1 - noise.rate, noise.low, noise.high)
    return left if exact is None else left | exact


def passes(
    x: Tensor,
    scale: Tensor,
    zero_point: Tensor,
    qmin: int,
    qmax: int,
    protected: Tensor | None,
    estimator: str,
    noise: Noise | None,
) -> Tensor:
    """Where the estimator lets a gradient pass, bool, of x's shape."""
    if estimator == "ste":
        return torch.ones_like(x, dtype=torch.bool)
    code = torch.round(x * (1 / scale)) + zero_point
    return reference.passes(code, *gradient_codes(qmin, qmax, estimator), _exact(x, protected, noise))
