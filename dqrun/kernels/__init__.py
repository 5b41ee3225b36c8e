"""The most time-consuming operations, as operators of torch (`ops`): plain torch defines each, numba compiles it.

The rest of dqrun calls the functions here. They split graphs and sparse rows into tensors for the operators
(`dqrun::NAME` for `torch.compile` and profilers). `use` chooses the version, plain torch (`reference`) or compiled
(`cpu`); a backward pass runs in the version of its forward pass.

N nodes, E edges, F channels; H heads of C channels each; G graphs. Data is float32 (float64 works and takes the
reference); results of the two versions agree bit for bit for `fake_quantize`, the ranges and the messages inside
`spmm_quantized`, and to rounding of the sums elsewhere. The same inputs with the same number of threads give the same
bits. Features may be `SparseRows` wherever `Rows` stands: see `sparse`.
"""

from __future__ import annotations

from typing import TypeVar, cast

import torch
from torch import Tensor

from dqrun.graphs import CSR, Rows, SparseRows, dense
from dqrun.kernels import reference, rows, sparse
from dqrun.kernels.blocks import in_one_block
from dqrun.kernels.choice import ran, use
from dqrun.kernels.elements import (
    Elementwise,
    column_sizes,
    mapped,
    mapped_messages,
    sample,
    sample_messages,
    times_columns,
)
from dqrun.kernels.grid_of_range import Grid
from dqrun.kernels.noise import NO_NOISE, Noise
from dqrun.kernels.ops import channels, derived, edges, ranges, rounding, sums
from dqrun.kernels.ops import dense as dense_ops
from dqrun.kernels.ops import rows as row_ops
from dqrun.kernels.ops.derived import batch_norm, head_scores
from dqrun.kernels.ops.kept import same_numbers
from dqrun.kernels.places import place_of, rows_of_all
from dqrun.kernels.reference import Range

__all__ = [
    "Elementwise",
    "Grid",
    "Noise",
    "Range",
    "Rows",
    "add_self",
    "batch_norm",
    "channel_range",
    "column_sizes",
    "dropout",
    "edge_add",
    "edge_softmax",
    "fake_quantize",
    "fake_quantize_broadcast",
    "fake_quantize_rows",
    "head_scores",
    "linear",
    "mapped",
    "mapped_messages",
    "message_range",
    "place_of",
    "ran",
    "row_extremes",
    "rows_of_all",
    "same_numbers",
    "sample",
    "sample_messages",
    "segment_reduce",
    "spmm",
    "spmm_quantized",
    "spmm_self",
    "summable",
    "tail_range",
    "times_columns",
    "use",
]

R = TypeVar("R", bound=Rows)  # a tensor, or sparse rows; the result is what x is


def fake_quantize(
    x: R,
    scale: Tensor,
    zero_point: Tensor,
    qmin: int,
    qmax: int,
    protected: Tensor | None = None,
    estimator: str = "ste",
    relu: bool = False,
    noise: Noise | None = None,
) -> R:
    """Rounds to the grid and back: (q - zero_point) * scale with q = clamp(round(x * (1 / scale)) + zero_point).

    Clamped to [qmin, qmax]; half rounds to even, all in x's precision, as `torch.fake_quantize_per_tensor_affine`;
    infinite x gets the end codes, NaN stays NaN and its gradient passes.

    x: [N, ...]. scale: float32 0-d. zero_point: int32 0-d. protected: bool [N] or None, rows passed unchanged with
    identity gradient. estimator, the gradient with respect to x elsewhere: "ste" identity; "clipped" zero where the
    unclamped code is outside [qmin, qmax]; "clipped_ends" zero where the clamped code is qmin or qmax. relu: a ReLU
    follows, in the same pass. noise: elements that it does not choose stay exact as well, with identity gradient;
    fewer than 2^32 elements. Returns the shape of x.

    A scale that requires a gradient gets that of LSQ (Esser et al. 2020, eq. 3), whatever the estimator: with
    v = x / scale, the sum over the rounded elements of qmin - zero_point where v <= qmin - zero_point, qmax -
    zero_point where v >= qmax - zero_point, else round(v) - v. No gradient to zero_point.
    """
    if isinstance(x, SparseRows):
        exact = sparse.of_values(x, protected)
        values = fake_quantize(x.values, scale, zero_point, qmin, qmax, exact, estimator, relu, noise)
        return cast(R, x.with_values(values))
    chosen = noise or NO_NOISE
    return cast(R, rounding.fake_quantize(x, scale, zero_point, qmin, qmax, protected, estimator, relu, *chosen))


def fake_quantize_broadcast(
    x: R,
    scale: Tensor,
    zero_point: Tensor,
    qmin: int,
    qmax: int,
    protected: Tensor | None = None,
    estimator: str = "ste",
    relu: bool = False,
    noise: Noise | None = None,
    offset: Tensor | None = None,
) -> R:
    """`fake_quantize` with several scales: float32 `scale` and int32 `zero_point`, of one shape, broadcast to x.

    [C, 1] for x [C, K] is a scale for each output channel of a weight, [N, 1] for x [N, F] one for each node. Sparse
    rows take [N, 1]. The gradient of a scale is the sum over the elements that share it. offset: float32 of the same
    shape, subtracted before and added after rounding, or None; no gradient. Sparse rows take none.
    """
    if isinstance(x, SparseRows):
        row, exact = x.where.places.row, sparse.of_values(x, protected)
        scale, zero_point = scale.flatten()[row], zero_point.flatten()[row]
        values = fake_quantize_broadcast(x.values, scale, zero_point, qmin, qmax, exact, estimator, relu, noise)
        return cast(R, x.with_values(values))
    grid = (scale, zero_point, qmin, qmax)
    if protected is None and noise is None and offset is None and not relu and in_one_block(scale.shape):
        return cast(R, channels.fake_quantize_broadcast(x, *grid, estimator))
    return cast(R, reference.fake_quantize(x, *grid, protected, estimator, relu, noise, offset))


def fake_quantize_rows(
    x: R,
    size: int,
    grid: Grid,
    protected: Tensor | None = None,
    estimator: str = "ste",
    relu: bool = False,
    noise: Noise | None = None,
) -> R:
    """`fake_quantize_broadcast` with the grids of `row_extremes` and `Grid.scales`, for x [N, ...] in one pass.

    No element lies outside the range of its own row, so that "clipped" is the identity, like "ste". Scales get no
    gradient. Sparse rows stay sparse: their grids are those of `Grid.with_zero`.
    """
    chosen = noise or NO_NOISE
    if not isinstance(x, SparseRows):
        return cast(R, row_ops.fake_quantize_rows(x, size, *grid, protected, estimator, relu, *chosen))
    if relu or noise or estimator == "clipped_ends":
        scale, zero_point, _ = grid.with_zero().scales(*row_extremes(x, size))
        how = grid.qmin, grid.qmax, protected, "ste" if estimator == "clipped" else estimator, relu, noise
        return cast(R, fake_quantize_broadcast(x, scale, zero_point, *how))
    where = x.where.places.rowptr, x.where.places.row, x.where.zeros_of_row
    return cast(R, x.with_values(row_ops.fake_quantize_sparse_rows(x.values, *where, protected, *grid)))


def row_extremes(x: Rows, size: int) -> Range:
    """Minimum and maximum of each row of x [N, ...], or of each group of `size` neighbouring elements; no gradient.

    size 0: of whole rows. Both broadcast to x: they are [N, 1, ...], or of x's shape for groups. Of sparse rows the
    extremes are those of whole rows, [N, 1], whatever `size`, including zeros that are not stored.
    """
    if isinstance(x, SparseRows):
        low, high = rows.sparse_extremes(x.values, x.where.places.row, x.where.zeros_of_row)
        return low.unsqueeze(1), high.unsqueeze(1)
    return rows.row_extremes(x, size)


def dropout(x: R, p: float, training: bool) -> R:
    """`torch.nn.functional.dropout`, with a mask computed by a hash of each element's position and a seed.

    x: any shape, fewer than 2^32 elements. Zero with probability p (to 2^-24), else x / (1 - p). The seed is drawn from
    torch's global CPU generator. Both versions give the same mask for any number of threads. To draw a number for each
    element takes ten times as long, which would be most of a training step on bags of words.
    """
    if not training or p == 0.0:
        return x
    if isinstance(x, SparseRows):
        return cast(R, x.with_values(dropout(x.values, p, training)))
    seed, (first, total) = torch.randint(2**32, (2,)), place_of(x.numel())
    if total > x.numel():
        seed[0] = (seed[0] + first) % 2**32
    return cast(R, dense_ops.dropout(x, p, seed))


def tail_range(
    x: Rows,
    tail: float,
    row_weight: Tensor | None = None,
    protected: Tensor | None = None,
    seen: Range | None = None,
    percentile: str = "symmetric",
) -> Range:
    """The exact range of x that leaves out a share `tail` of its elements on each side; no gradient.

    x: [N, ...] without NaN. tail: [0, 0.5). row_weight: int64 [N], how often each row counts (0: not at all), or None:
    once. protected: bool [N] or None, rows that do not count. Returns 0-d tensors of x's type: two elements of the
    multiset of the W elements that count, by their rank from the smallest; (+inf, -inf) when W = 0.

    percentile, with k = floor(tail * W): "symmetric" the ranks k + 1 and W - k; "kthvalue" the ranks k and
    floor((1 - tail) * W), both at least 1, as in Degree-Quant's released code. Of 100 elements and a tail of 0.01 these
    are 2 and 99, and 1 and 99.

    seen: an earlier range, which the result contains: each end is the wider one of both. It saves most of the work if
    at most the share `tail` lies outside it.
    """
    if isinstance(x, SparseRows):
        x, row_weight = sparse.multiset(x, row_weight, protected)
        protected = None
    low, high = ranges.tail_range(x, tail, row_weight, protected, *(seen or (None, None)), percentile)
    return low, high


def channel_range(
    x: Tensor, shape: tuple[int, ...], tail: float, seen: Range | None = None, percentile: str = "symmetric"
) -> Range:
    """`tail_range` of each part of a tensor. A part: the elements of x that one element of `shape` broadcasts to.

    x: float32, without NaN, not empty. Returns two float32 tensors of `shape`. seen: earlier ranges, of `shape`.
    """
    if not in_one_block(shape):
        return reference.channel_range(x, shape, tail, seen, percentile)
    low, high = channels.channel_range(x, shape, tail, *(seen or (None, None)), percentile)
    return low, high


def linear(x: Rows, weight: Tensor, bias: Tensor | None = None, relu: bool = False) -> Tensor:
    """x weight^T + bias, then a ReLU if `relu`: x [N, K], weight [M, K], bias [M] to [N, M]; gradients to all."""
    if isinstance(x, SparseRows):
        y = spmm(x.where.places, weight.t().contiguous(), x.values)
        y = y if bias is None else y + bias
        return y.relu() if relu else y
    return cast(Tensor, dense_ops.linear(x, weight, bias, relu))


def spmm(csr: CSR, x: R, weight: Tensor | None = None) -> R:
    """Weighted sum over incoming edges: out[i] = sum over edges e of target i of weight[e] * x[col[e]].

    x: [N, F] with weight [E], or [N, H, C] with weight [E, H]; weight None stands for ones. Returns the shape of x;
    zero for a node without edges. Gradients to x and weight. Sparse rows take no weight.
    """
    if isinstance(x, SparseRows):
        assert weight is None
        near = sparse.neighbours(csr, x)
        return cast(R, SparseRows(spmm(near.terms, x.values.unsqueeze(1)).squeeze(1), near.where))
    return cast(R, sums.spmm(x, weight, *csr.parts))


def summable(csr: CSR, x: Rows) -> Rows:
    """x in the faster form for sums over the graph's edges: sparse rows become dense if sums have many terms."""
    return x.to_dense() if isinstance(x, SparseRows) and not sparse.sums_pay(csr, x) else x


def add_self(csr: CSR, a: R, x: R, self_weight: Tensor) -> R:
    """a + self_weight * x; a: the result of `spmm` or `spmm_quantized` for x and csr, rounded or not; self_weight: [1].

    With sparse x, a is dense if a function that does not keep zeros was applied to it (`mapped`).
    """
    if isinstance(a, SparseRows):
        assert isinstance(x, SparseRows)
        return cast(R, a.with_values(a.values.index_add(0, sparse.neighbours(csr, x).own, self_weight * x.values)))
    return cast(R, derived.add_scaled(a, self_weight, dense(x)))


def spmm_self(csr: CSR, x: R, self_weight: Tensor) -> R:
    """out[i] = self_weight * x[i] + sum over incoming edges e of x[col[e]].

    x: [N, F], self_weight: [1]; returns [N, F]; gradients to both.
    """
    if isinstance(x, SparseRows):
        return add_self(csr, spmm(csr, x), x, self_weight)
    return cast(R, sums.spmm_self(x, self_weight, *csr.parts))


def spmm_quantized(
    csr: CSR,
    x: R,
    weight: Tensor | None,
    scale: Tensor,
    zero_point: Tensor,
    qmin: int,
    qmax: int,
    protected: Tensor | None = None,
    estimator: str = "ste",
    noise: Noise | None = None,
) -> R:
    """`spmm` of messages weight[e] * x[col[e]] that each pass `fake_quantize` before the sum.

    protected: bool [N] or None, source nodes whose messages stay exact; the rest as in `spmm` and `fake_quantize`, the
    gradient of the scale included: a sum over messages. noise: drawn for each element of each message.
    """
    if isinstance(x, SparseRows):
        assert weight is None
        near, exact, rows = sparse.neighbours(csr, x), sparse.of_values(x, protected), x.values.unsqueeze(1)
        y = spmm_quantized(near.terms, rows, None, scale, zero_point, qmin, qmax, exact, estimator, noise)
        return cast(R, SparseRows(y.squeeze(1), near.where))
    grid, chosen = (scale, zero_point, qmin, qmax), noise or NO_NOISE
    return cast(R, sums.spmm_quantized(x, weight, *grid, protected, estimator, *chosen, *csr.parts))


def message_range(
    csr: CSR,
    x: Rows,
    weight: Tensor | None,
    tail: float,
    protected: Tensor | None = None,
    seen: Range | None = None,
    percentile: str = "symmetric",
) -> Range:
    """`tail_range` of the messages weight[e] * x[col[e]] of all edges.

    protected: bool [N], source nodes left out; seen, percentile: as there.
    """
    if weight is None:  # the messages of a node are equal
        return tail_range(x, tail, csr.out_degree, protected, seen, percentile)
    assert isinstance(x, Tensor)
    ends = seen or (None, None)
    low, high = ranges.message_range(x, weight, tail, protected, *ends, percentile, *csr.parts)
    return low, high


def edge_add(csr: CSR, source: Tensor, target: Tensor) -> Tensor:
    """source[col[e]] + target[row[e]] of each edge: both [N, H] to [E, H]; gradients to both."""
    return cast(Tensor, edges.edge_add(source, target, *csr.parts))


def edge_softmax(csr: CSR, logits: Tensor) -> Tensor:
    """Softmax over the incoming edges of each target: logits [E, H] to coefficients [E, H], for each head alone.

    The largest logit of the target is subtracted first. Gradient to logits.
    """
    return cast(Tensor, edges.edge_softmax(logits, *csr.parts))


def segment_reduce(x: Tensor, ptr: Tensor, mode: str) -> Tensor:
    """Sum, mean or max of the rows of each segment: x [N, F], ptr int64 [G + 1] (first row of each), to [G, F].

    An empty segment gives 0. The gradient of "max" goes to the first maximal row.
    """
    if mode == "max":
        return cast(Tensor, edges.segment_max(x, ptr)[0])
    total: Tensor = edges.segment_sum(x, ptr)
    return total / ptr.diff().clamp(min=1).unsqueeze(-1) if mode == "mean" else total
