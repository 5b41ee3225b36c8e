"""Operators over edges, `edge_add`, `edge_softmax`, and over the nodes of graphs, `segment_sum`, `segment_max`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dqrun.kernels import gradients, reference
from dqrun.kernels.operator import CSR_PARTS, Operator, backward_pass
from dqrun.kernels.ops.sums import PARTS, of_csr


class _EdgeAdd(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, source: Tensor, target: Tensor, *csr: Tensor) -> Tensor:
        ctx.save_for_backward(*csr)
        return edge_add.below(source, target, *csr)  # type: ignore[no-any-return]

    @staticmethod
    @backward_pass
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return (*_edge_add_backward(grad, *ctx.saved_tensors), *[None] * PARTS)


class _EdgeSoftmax(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, *csr: Tensor) -> Tensor:
        y: Tensor = edge_softmax.below(logits, *csr)
        ctx.save_for_backward(y, *csr)
        return y

    @staticmethod
    @backward_pass
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return (_edge_softmax_backward(grad, *ctx.saved_tensors), *[None] * PARTS)


class _SegmentSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, ptr: Tensor) -> Tensor:
        ctx.num_rows = x.size(0)
        ctx.save_for_backward(ptr)
        return segment_sum.below(x, ptr)  # type: ignore[no-any-return]

    @staticmethod
    @backward_pass
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (ptr,) = ctx.saved_tensors
        return grad.repeat_interleave(ptr.diff(), 0, output_size=ctx.num_rows), None


class _SegmentMax(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, ptr: Tensor) -> tuple[Tensor, Tensor]:
        y, position = segment_max.below(x, ptr)
        ctx.num_rows = x.size(0)
        ctx.save_for_backward(position)
        ctx.mark_non_differentiable(position)
        return y, position

    @staticmethod
    @backward_pass
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        (position,) = ctx.saved_tensors
        out = grad.new_zeros(ctx.num_rows + 1, grad.size(1))  # the last row collects gradients of empty segments
        return out.scatter_(0, position, grad)[:-1], None


def _edges_like(source: Tensor, *args: Any) -> Tensor:
    col = args[-PARTS + 1]
    return source.new_empty(col.size(0), source.size(1))


def _ends_like(grad: Tensor, *csr: Tensor) -> tuple[Tensor, Tensor]:
    num_targets, num_sources = csr[0].size(0) - 1, csr[3].size(0) - 1
    return grad.new_empty(num_sources, grad.size(1)), grad.new_empty(num_targets, grad.size(1))


def _segments_like(x: Tensor, ptr: Tensor) -> Tensor:
    return x.new_empty(ptr.size(0) - 1, x.size(1))


edge_add = Operator(
    f"edge_add(Tensor source, Tensor target, {CSR_PARTS}) -> Tensor",
    of_csr(reference.edge_add),
    _edges_like,
    _EdgeAdd,
    (0, 1),
)
_edge_add_backward = Operator(
    f"edge_add_backward(Tensor grad, {CSR_PARTS}) -> (Tensor, Tensor)", of_csr(gradients.edge_add), _ends_like
)
edge_softmax = Operator(
    f"edge_softmax(Tensor logits, {CSR_PARTS}) -> Tensor",
    of_csr(reference.edge_softmax),
    _edges_like,
    _EdgeSoftmax,
    (0,),
)
_edge_softmax_backward = Operator(
    f"edge_softmax_backward(Tensor grad, Tensor y, {CSR_PARTS}) -> Tensor",
    of_csr(gradients.edge_softmax),
    lambda grad, *_: grad.new_empty(grad.shape),
)
segment_sum = Operator(
    "segment_sum(Tensor x, Tensor ptr) -> Tensor", reference.segment_sum, _segments_like, _SegmentSum, (0,)
)
segment_max = Operator(
    "segment_max(Tensor x, Tensor ptr) -> (Tensor, Tensor)",
    reference.segment_max,
    lambda x, ptr: (_segments_like(x, ptr), ptr.new_empty(ptr.size(0) - 1, x.size(1))),
    _SegmentMax,
    (0,),
)
