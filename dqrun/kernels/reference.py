"""Every kernel in plain torch: the definition of what `dqrun.kernels` computes, on any device and float type.

`dqrun.kernels` documents shapes and meaning. Gradients are torch's own, except where rounding needs an estimator.
No function synchronises with the device: sizes come from shapes, values stay tensors.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dqrun.graphs import CSR
from dqrun.kernels.noise import Noise

Range = tuple[Tensor, Tensor]  # low and high, 0-d
AT_ONCE = 1 << 26
"""Numbers of the messages of a sum over edges that are in memory at a time."""


def fake_quantize(
    x: Tensor,
    scale: Tensor,
    zero_point: Tensor,
    qmin: int,
    qmax: int,
    protected: Tensor | None = None,
    estimator: str = "ste",
    relu: bool = False,
    noise: Noise | None = None,
    offset: Tensor | None = None,
) -> Tensor:
    shifted = x if offset is None else x - offset
    y: Tensor = _FakeQuantize.apply(shifted, scale, zero_point, qmin, qmax, protected, estimator)  # type: ignore[no-untyped-call]
    if offset is not None:
        y = y + offset
        y = y if protected is None else torch.where(of_rows(protected, x), x, y)
    if noise is not None:
        y = torch.where(keeps(x, 1 - noise.rate, noise.low, noise.high), y, x)
    return y.relu() if relu else y


def fake_quantize_broadcast(
    x: Tensor, scale: Tensor, zero_point: Tensor, qmin: int, qmax: int, estimator: str
) -> Tensor:
    return fake_quantize(x, scale, zero_point, qmin, qmax, estimator=estimator)


class _FakeQuantize(torch.autograd.Function):
    """Rounding to the grid, with the estimator's gradient in place of rounding's own (zero almost everywhere)."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        scale: Tensor,
        zero_point: Tensor,
        qmin: int,
        qmax: int,
        protected: Tensor | None,
        estimator: str,
    ) -> Tensor:
        code = torch.round(x * (1 / scale)) + zero_point
        exact = None if protected is None else of_rows(protected, x)
        ctx.scale_shape = scale.shape
        ctx.slope = (
            step_slope(x, scale, qmin - zero_point, qmax - zero_point, exact) if ctx.needs_input_grad[1] else None
        )
        ctx.passes = None if estimator == "ste" else passes(code, *gradient_codes(qmin, qmax, estimator), exact)
        y = (code.clamp(qmin, qmax) - zero_point) * scale
        return y if exact is None else torch.where(exact, x, y)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        step = None if ctx.slope is None else _sum_like(grad * ctx.slope, ctx.scale_shape)
        grad = grad if ctx.passes is None else grad.where(ctx.passes, 0.0)
        return (grad, step, None, None, None, None, None)


def _sum_like(x: Tensor, shape: torch.Size) -> Tensor:
    return x.sum_to_size(shape) if shape else x.sum()


def gradient_codes(qmin: int, qmax: int, estimator: str) -> tuple[int, int]:
    """The unclamped codes (lowest, highest) at which an estimator that clips lets the gradient pass."""
    return (qmin, qmax) if estimator == "clipped" else (qmin + 1, qmax - 1)


def passes(code: Tensor, low: int, high: int, exact: Tensor | None) -> Tensor:
    outside = (code < low) | (code > high)  # NaN is not
    return ~outside if exact is None else ~outside | exact


def step_slope(x: Tensor, scale: Tensor, low: Tensor, high: Tensor, exact: Tensor | None) -> Tensor:
    """The derivative of each rounded value by the step; `low`, `high`: the end codes minus the zero point."""
    place = x * (1 / scale)
    slope = torch.where(place <= low, low, torch.where(place >= high, high, torch.round(place) - place))
    return slope if exact is None else slope.masked_fill(exact, 0.0)


def of_rows(row_values: Tensor, x: Tensor) -> Tensor:
    """A [N] tensor shaped to broadcast over the rows of x [N, ...]."""
    return row_values.view(-1, *[1] * (x.dim() - 1))


WORD = 0xFFFFFFFF  # 32-bit arithmetic in int64


def keeps(x: Tensor, p: float, low: int, high: int) -> Tensor:
    """Which elements dropout keeps, and noise rounds, bool, same shape: those with a hash of 24 bits >= p 2^24.

    The hash is two rounds of "lowbias32" (C. Wellons, hash-prospector) over the element's index and both seeds.
    """
    place = torch.arange(x.numel(), device=x.device).view(x.shape)
    return _hash(_hash((place + low) & WORD) ^ high) >> 8 >= round(p * 2**24)


def _hash(x: Tensor) -> Tensor:
    x = x ^ (x >> 16)
    x = (x * 0x7FEB352D) & WORD
    x = x ^ (x >> 15)
    x = (x * 0x846CA68B) & WORD
    return x ^ (x >> 16)


def dropout(x: Tensor, p: float, low: int, high: int) -> Tensor:
    return torch.where(keeps(x, p, low, high), x * (1 / (1 - p)), 0.0)


@torch.no_grad()
def tail_range(
    x: Tensor,
    tail: float,
    row_weight: Tensor | None = None,
    protected: Tensor | None = None,
    seen: Range | None = None,
    percentile: str = "symmetric",
) -> Range:
    low, high = _tail_range(x, tail, row_weight, protected, percentile)
    return (low, high) if seen is None else (torch.minimum(low, seen[0]), torch.maximum(high, seen[1]))


@torch.no_grad()
def channel_range(
    x: Tensor, shape: tuple[int, ...], tail: float, seen: Range | None = None, percentile: str = "symmetric"
) -> Range:
    own = [dim for dim, size in enumerate(shape) if size > 1]
    parts = x.movedim(own, list(range(len(own)))).reshape(max(1, torch.Size(shape).numel()), -1).contiguous()
    below, above = left_out(tail, parts.size(1), percentile)
    if below == above == 0:
        low, high = parts.amin(1), parts.amax(1)
    else:
        low = parts.topk(below + 1, largest=False).values[:, -1]
        high = parts.topk(above + 1).values[:, -1]
    low, high = low.view(shape), high.view(shape)
    return (low, high) if seen is None else (torch.minimum(low, seen[0]), torch.maximum(high, seen[1]))


def left_out(tail: float, total: int, percentile: str) -> tuple[int, int]:
    """How many of `total` elements (at least 1) lie below and above the range; the definition: `kernels.tail_range`."""
    if percentile == "symmetric":
        return int(tail * total), int(tail * total)
    return max(1, int(tail * total)) - 1, total - max(1, int((1 - tail) * total))


def _tail_range(x: Tensor, tail: float, row_weight: Tensor | None, protected: Tensor | None, percentile: str) -> Range:
    if x.numel() == 0:
        return x.new_full((), float("inf")), x.new_full((), float("-inf"))
    if protected is not None:
        row_weight = (~protected).long() if row_weight is None else row_weight.masked_fill(protected, 0)
    if row_weight is None:
        below, above = left_out(tail, x.numel(), percentile)
        if below == above == 0:
            return x.amin(), x.amax()
        flat = x.flatten()
        return flat.kthvalue(below + 1).values, flat.kthvalue(x.numel() - above).values
    if tail == 0:
        counts = of_rows(row_weight > 0, x)
        return x.where(counts, float("inf")).amin(), x.where(counts, float("-inf")).amax()
    return _weighted_tail_range(x, tail, row_weight, percentile)


def _weighted_tail_range(x: Tensor, tail: float, row_weight: Tensor, percentile: str) -> Range:
    values, order = x.flatten().sort()
    upto = row_weight[order // (x.numel() // x.size(0))].cumsum(0)  # elements up to and including each sorted one
    total = upto[-1]
    lower, upper = _ranks(tail, total, percentile)
    last = values.numel() - 1
    low = values.take(torch.searchsorted(upto, lower).clamp(max=last))  # values[...] would read the place
    high = values.take(torch.searchsorted(upto, upper).clamp(max=last))
    some = total > 0
    return low.where(some, float("inf")), high.where(some, float("-inf"))


def _ranks(tail: float, total: Tensor, percentile: str) -> tuple[Tensor, Tensor]:
    """Ranks, from 1, of the range's ends among `total` elements, int64 0-d: `left_out` without reading the device."""
    if percentile == "symmetric":
        outside = (total.double() * tail).floor().long()
        return outside + 1, total - outside
    lower, upper = ((total.double() * share).floor().long().clamp(min=1) for share in (tail, 1 - tail))
    return lower, upper


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None, relu: bool = False) -> Tensor:
    y = F.linear(x, weight, bias)
    return y.relu() if relu else y


def spmm(csr: CSR, x: Tensor, weight: Tensor | None = None) -> Tensor:
    edges = max(1, AT_ONCE // max(1, x[:1].numel()))
    total = x.new_zeros(csr.num_nodes, *x.shape[1:])
    for first in range(0, max(1, csr.num_edges), edges):  # at least once: a sum of nothing has a gradient too
        part = slice(first, first + edges)
        some = x.index_select(0, csr.col[part])
        some = some if weight is None else some * weight[part].unsqueeze(-1)
        total.index_add_(0, csr.row[part], some)
    return total


def spmm_self(csr: CSR, x: Tensor, self_weight: Tensor) -> Tensor:
    return torch.addcmul(spmm(csr, x), self_weight, x)


def spmm_quantized(
    csr: CSR,
    x: Tensor,
    weight: Tensor | None,
    scale: Tensor,
    zero_point: Tensor,
    qmin: int,
    qmax: int,
    protected: Tensor | None = None,
    estimator: str = "ste",
    noise: Noise | None = None,
) -> Tensor:
    exact = None if protected is None else protected[csr.col]
    unrounded = messages(csr, x, weight)
    rounded = fake_quantize(unrounded, scale, zero_point, qmin, qmax, exact, estimator, noise=noise)
    return _sum_by_target(csr, rounded)


@torch.no_grad()
def message_range(
    csr: CSR,
    x: Tensor,
    weight: Tensor | None,
    tail: float,
    protected: Tensor | None = None,
    seen: Range | None = None,
    percentile: str = "symmetric",
) -> Range:
    exact = None if protected is None else protected[csr.col]
    return tail_range(messages(csr, x, weight), tail, None, exact, seen, percentile)


def messages(csr: CSR, x: Tensor, weight: Tensor | None) -> Tensor:
    """The message of each edge: [E, F], or [E, H, C]."""
    gathered = x.index_select(0, csr.col)
    return gathered if weight is None else gathered * weight.unsqueeze(-1)


def _sum_by_target(csr: CSR, messages: Tensor) -> Tensor:
    return messages.new_zeros(csr.num_nodes, *messages.shape[1:]).index_add_(0, csr.row, messages)


def edge_add(csr: CSR, source: Tensor, target: Tensor) -> Tensor:
    return source.index_select(0, csr.col) + target.index_select(0, csr.row)


def edge_softmax(csr: CSR, logits: Tensor) -> Tensor:
    index = csr.row.unsqueeze(-1).expand_as(logits)
    shape = (csr.num_nodes, logits.size(1))
    largest = logits.new_full(shape, float("-inf")).scatter_reduce(0, index, logits.detach(), "amax")
    powers = (logits - largest.index_select(0, csr.row)).exp()
    total = powers.new_zeros(shape).index_add_(0, csr.row, powers)
    return powers / total.index_select(0, csr.row)


def segment_reduce(x: Tensor, ptr: Tensor, mode: str) -> Tensor:
    if mode == "max":
        return segment_max(x, ptr)[0]
    total = segment_sum(x, ptr)
    return total if mode == "sum" else total / ptr.diff().clamp(min=1).unsqueeze(-1)


def segment_sum(x: Tensor, ptr: Tensor) -> Tensor:
    return x.new_zeros(ptr.numel() - 1, x.size(1)).index_add_(0, _segment_of_rows(x, ptr), x)


def segment_max(x: Tensor, ptr: Tensor) -> tuple[Tensor, Tensor]:
    """The largest values [G, F], and the first row that has each, int64 [G, F]: N for an empty segment.

    Picks rows by their position, so that autograd sends the gradient there and nowhere else.
    """
    segment, shape = _segment_of_rows(x, ptr), (ptr.numel() - 1, x.size(1))
    index = segment.unsqueeze(-1).expand_as(x)
    largest = x.new_full(shape, float("-inf")).scatter_reduce(0, index, x.detach(), "amax")
    is_largest = (x.detach() == largest.index_select(0, segment)) | x.detach().isnan()
    position = torch.arange(x.size(0), device=x.device).unsqueeze(-1).where(is_largest, x.size(0))
    first = position.new_full(shape, x.size(0)).scatter_reduce(0, index, position, "amin")
    return torch.cat([x, x.new_zeros(1, x.size(1))]).gather(0, first), first  # an empty segment picks the row of zeros


def _segment_of_rows(x: Tensor, ptr: Tensor) -> Tensor:
    """The segment of each row, int64 [N]."""
    return torch.arange(ptr.numel() - 1, device=x.device).repeat_interleave(ptr.diff(), output_size=x.size(0))
