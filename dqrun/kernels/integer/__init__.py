"""The integer kernels: each in plain torch (`reference`, the definition) and compiled for the CPU (`cpu`, numba).

`dqrun.kernels.use` chooses the version, as for the kernels of training. N nodes, E edges; K and M input and output
channels; H heads of C channels; G graphs; any of N, E, G may be 0. Node tensors are `Codes`, weights `Weight`. The
computation after an integer sum is an `Epilogue`: with a grid the result is codes, without one float32. Sums of codes
are int32: the caller must exclude overflow (degree x code range, K x code range x 127). Both versions always give the
same codes, except `attention`, whose float32 sums agree up to rounding.

Codes with a grid for each row (`RowGrid`) stand for scale q + lowest of their row. In sums over nodes, "x - zero_point"
below is that number in float64; terms are added in the order of edges, and results are real numbers. In products, scale
and lowest number of the row are applied after the int32 sums (`Epilogue.of_rows`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import torch
from torch import Tensor
from torch.profiler import record_function

from dqrun.graphs import CSR
from dqrun.kernels.choice import INTEGER, run
from dqrun.kernels.integer import reference
from dqrun.kernels.integer.codes import CodeGrid, Codes, Grid
from dqrun.kernels.integer.dynamic_attention import dynamic_attention
from dqrun.kernels.integer.epilogue import Epilogue
from dqrun.kernels.integer.row_grid import RowGrid
from dqrun.kernels.integer.stored import pack_codes, unpack_codes
from dqrun.kernels.integer.weight import Weight

__all__ = [
    "CodeGrid",
    "Codes",
    "Epilogue",
    "Grid",
    "RowGrid",
    "Weight",
    "aggregate",
    "aggregate_mean",
    "aggregate_weighted",
    "attention",
    "dynamic_attention",
    "linear",
    "linear_pair",
    "lookup",
    "pack_codes",
    "quantize",
    "segment_reduce",
    "unpack_codes",
]

R = TypeVar("R")
_profiling: Callable[[], bool] = torch._C._autograd._profiler_enabled


def quantize(x: Tensor, grid: Grid) -> Codes:
    """Codes of real numbers as in `QuantSpec.encode`: clamp(rint(x * (1 / scale)) + zero_point, 0, top).

    With a grid for each row they are those of `RowGrid.encode`. x: float32 [N, C], without NaN. All in float32, so that
    the codes are those of training, bit for bit.
    """
    return _run(reference.quantize, x, x, grid)


def linear(x: Codes, weight: Weight, epilogue: Epilogue) -> Codes | Tensor:
    """acc[i, c] = sum over k of (x[i, k] - zero_point) * weight[c, k], then the epilogue.

    x: [N, K]; weight: [M, K]. Returns Codes [N, M], or float32 [N, M].
    """
    return _run(reference.linear, x.data, x, weight, epilogue)


def aggregate(csr: CSR, x: Codes, self_weight: float | None, epilogue: Epilogue) -> Codes | Tensor:
    """acc[i] = sum over the edges e of target i of (x[col[e]] - zero_point), then the epilogue.

    With self_weight (GIN's 1 + eps) self_weight * (x[i] - zero_point) is added to acc, product and sum in float64. x:
    [N, C]. Returns Codes [N, C], or float32 [N, C]; for a node without edges the sum over edges is 0.
    """
    return _run(reference.aggregate, x.data, csr, x, self_weight, epilogue)


def aggregate_mean(csr: CSR, x: Codes, epilogue: Epilogue) -> Codes | Tensor:
    """As `aggregate`, with acc divided by the number of edges of the target, in float64; 0 without edges."""
    return _run(reference.aggregate_mean, x.data, csr, x, epilogue)


def aggregate_weighted(csr: CSR, x: Codes, edge_weight: Tensor, mean: bool, epilogue: Epilogue) -> Codes | Tensor:
    """acc[i] = sum over the edges e of target i of edge_weight[e] * (x[col[e]] - zero_point), in float64.

    `mean`: divided by the number of edges. edge_weight: float32 [E]. Plain torch alone: it has a row per edge.
    """
    return reference.aggregate_weighted(csr, x, edge_weight, mean, epilogue)


def linear_pair(
    x: Codes, weight: Weight, y: Codes, second_weight: Weight, ratio: Tensor, epilogue: Epilogue
) -> Codes | Tensor:
    """acc = (acc of `linear` for x) + ratio * (acc of `linear` for y), product and sum in float64; then the epilogue.

    x: [N, K]; weight: [M, K]; y: [N, L]; second_weight: [M, L]; ratio: float64 [1] or [M]. Returns Codes [N, M], or
    float32 [N, M].
    """
    return _run(reference.linear_pair, x.data, x, weight, y, second_weight, ratio, epilogue)


def attention(
    csr: CSR,
    h: Codes,
    a_source: Tensor,
    a_target: Tensor,
    negative_slope: float,
    concat: bool,
    epilogue: Epilogue,
) -> Codes | Tensor:
    """acc[i] = sum over the edges of target i of alpha[e] * (h[col[e]] - zero_point), then the epilogue.

    In floats: alpha is the softmax over the edges of i and, per head, of leaky_relu(a_source . h_col + a_target .
    h_i), h in real numbers; alpha and the sum are float32. h: [N, H * C]. a_source, a_target: float32 [H, C] (float64
    takes the reference, in float64). negative_slope: in [0, 1]. concat: heads are concatenated, acc [N, H * C], else
    averaged, [N, C]. acc is in steps of h's codes; the multiplier includes the scale of h.
    """
    return _run(reference.attention, a_source, csr, h, a_source, a_target, negative_slope, concat, epilogue)


def segment_reduce(x: Codes, ptr: Tensor, mode: str, epilogue: Epilogue) -> Codes | Tensor:
    """Readout: acc = sum, mean (sum / rows, in float64) or max of x - zero_point over consecutive rows, 0 over none.

    x: [N, C]. ptr: int64 [G + 1], first row of each segment. Returns Codes [G, C], or float32 [G, C].
    """
    return _run(reference.segment_reduce, x.data, x, ptr, mode, epilogue)


def lookup(table: Codes, index: Tensor) -> Codes:
    """The rows index (int64 [N]) of an embedding table."""
    return reference.lookup(table, index)


def _run(definition: Callable[..., R], x: Tensor, *args: object) -> R:
    """Runs the version for data like x; torch's profiler shows it as `dqrun::integer_NAME`.

    It is no operator of torch, because codes, weights and epilogues are objects, which a program makes once.
    """
    name, (backend,) = definition.__name__, INTEGER
    if not backend.takes(x):
        return definition(*args)
    if _profiling():
        with record_function(f"dqrun::integer_{name}"):
            return cast(R, run(name, backend, definition, args))
    return cast(R, run(name, backend, definition, args))
