"""`edge_scores`: the logits of GATv2, a sum over channels for each edge.

Plain torch in blocks of edges: the [E, H, C] tensor of sums of both ends is computed block by block in the forward pass
and again in the backward pass, so that it is never in memory as a whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dqrun.graphs import CSR

BLOCK = 1 << 18  # numbers of a block: they stay in the cache


def edge_scores(csr: CSR, source: Tensor, target: Tensor, vectors: Tensor, slope: float) -> Tensor:
    """sum over c of vectors[h, c] * leaky_relu(source[col[e], h, c] + target[row[e], h, c]) of each edge e and head h.

    source, target: [N, H, C]; vectors: [H, C]; returns [E, H]; gradients to all three.
    """
    scores: Tensor = _EdgeScores.apply(csr, source, target, vectors, slope)  # type: ignore[no-untyped-call]
    return scores


def _blocks(csr: CSR, channels: int) -> Iterator[slice]:
    size = max(1, BLOCK // max(1, channels))
    return (slice(first, first + size) for first in range(0, csr.num_edges, size))


def _ends(csr: CSR, edges: slice, source: Tensor, target: Tensor) -> Tensor:
    return source[csr.col[edges]] + target[csr.row[edges]]


class _EdgeScores(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, csr: CSR, source: Tensor, target: Tensor, vectors: Tensor, slope: float) -> Tensor:
        ctx.save_for_backward(source, target, vectors)
        ctx.csr, ctx.slope = csr, slope
        scores = source.new_empty(csr.num_edges, source.size(1))
        for edges in _blocks(csr, vectors.numel()):
            hidden = F.leaky_relu(_ends(csr, edges, source, target), slope)
            scores[edges] = (hidden * vectors).sum(-1)
        return scores

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (source, target, vectors), csr, slope = ctx.saved_tensors, ctx.csr, ctx.slope
        to_source, to_target, to_vectors = (torch.zeros_like(each) for each in (source, target, vectors))
        for edges in _blocks(csr, vectors.numel()):
            ends, grad = _ends(csr, edges, source, target), grads[0][edges].unsqueeze(-1)
            to_vectors += (grad * F.leaky_relu(ends, slope)).sum(0)
            inner = grad * vectors * torch.where(ends > 0, 1.0, slope)
            to_source.index_add_(0, csr.col[edges], inner)
            to_target.index_add_(0, csr.row[edges], inner)
        return None, to_source, to_target, to_vectors, None
