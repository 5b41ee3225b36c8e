"""`dynamic_attention`: GATv2 over codes. Logits, softmax and weighted sums are floats: training's kernels."""

from __future__ import annotations

from torch import Tensor

from dqrun import kernels
from dqrun.graphs import CSR
from dqrun.kernels.edge_scores import edge_scores
from dqrun.kernels.integer.codes import CodeGrid, Codes
from dqrun.kernels.integer.epilogue import Epilogue
from dqrun.kernels.integer.reference import finish
from dqrun.kernels.integer.row_grid import RowGrid


def dynamic_attention(
    csr: CSR, h: Codes, t: Codes, vectors: Tensor, negative_slope: float, concat: bool, epilogue: Epilogue
) -> Codes | Tensor:
    """acc[i] = sum over the edges of target i of alpha[e] * (h[col[e]] - zero_point), then the epilogue.

    alpha is the softmax over the edges of i and, per head, of vectors . leaky_relu(h_col + t_i), h and t in real
    numbers. h, t: [N, H * C]. vectors: float32 [H, C] (float64: all computations in float64). concat: heads are
    concatenated, acc [N, H * C], else averaged, [N, C]. acc is in steps of h's codes; the multiplier includes the scale
    of h.
    """
    (source, scale), (target, target_scale) = (_values(codes, vectors) for codes in (h, t))
    scores = edge_scores(csr, source * scale, target * target_scale, vectors, negative_slope)
    acc = kernels.spmm(csr, source, kernels.edge_softmax(csr, scores))
    return finish((acc.flatten(1) if concat else acc.mean(1)).double(), epilogue)


def _values(codes: Codes, vectors: Tensor) -> tuple[Tensor, float]:
    """Codes less their zero point, of the type of the vectors, [N, H, C], and their scale.

    Of a grid for each row: the real numbers, and 1.
    """
    by_rows = isinstance(codes.grid, RowGrid)
    values = codes.real() if by_rows else codes.unpack().int() - codes.grid.zero_point
    scale = codes.grid.scale if isinstance(codes.grid, CodeGrid) else 1.0
    return values.to(vectors.dtype).view(codes.num_rows, *vectors.shape), scale
