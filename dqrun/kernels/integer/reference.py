"""The integer kernels in plain torch: the definition of what `dqrun.kernels.integer` computes.

`dqrun.kernels.integer` documents shapes and meaning. Sums of codes are exact (integers, or integers in float64);
everything after them is float64, operation by operation as `Epilogue` states it.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from dqrun.graphs import CSR
from dqrun.kernels import reference as floating
from dqrun.kernels.integer.codes import CodeGrid, Codes
from dqrun.kernels.integer.epilogue import Epilogue
from dqrun.kernels.integer.weight import Weight

LOG2_E = 1.4426950408889634
LN2_HIGH, LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10  # fdlibm: the high part has 33 bits
EXP_TERMS = tuple(1 / math.factorial(n) for n in range(13, -1, -1))
LOWEST_EXPONENT = -700.0


def quantize(x: Tensor, grid: CodeGrid) -> Codes:
    inverse = 1 / torch.tensor(grid.scale, dtype=torch.float32)
    codes = torch.round(x * inverse) + grid.zero_point
    return Codes.of(codes.clamp(0, grid.top), grid)


def linear(x: Codes, weight: Weight, epilogue: Epilogue) -> Codes | Tensor:
    return finish(_centred(x).double() @ weight.codes.double().T, epilogue)


def aggregate(csr: CSR, x: Codes, self_weight: float | None, epilogue: Epilogue) -> Codes | Tensor:
    acc = _edge_sums(csr, x)
    return finish(acc if self_weight is None else acc + self_weight * _centred(x).double(), epilogue)


def aggregate_mean(csr: CSR, x: Codes, epilogue: Epilogue) -> Codes | Tensor:
    return finish(_over_degree(csr, _edge_sums(csr, x)), epilogue)


def aggregate_weighted(csr: CSR, x: Codes, edge_weight: Tensor, mean: bool, epilogue: Epilogue) -> Codes | Tensor:
    acc = floating.spmm(csr, _centred(x).double(), edge_weight.double())
    return finish(_over_degree(csr, acc) if mean else acc, epilogue)


def linear_pair(
    x: Codes, weight: Weight, y: Codes, second_weight: Weight, ratio: Tensor, epilogue: Epilogue
) -> Codes | Tensor:
    second = ratio * (_centred(y).double() @ second_weight.codes.double().T)
    return finish(_centred(x).double() @ weight.codes.double().T + second, epilogue)


def attention(
    csr: CSR,
    h: Codes,
    a_source: Tensor,
    a_target: Tensor,
    negative_slope: float,
    concat: bool,
    epilogue: Epilogue,
) -> Codes | Tensor:
    values = _centred(h).to(a_source.dtype).view(h.num_rows, *a_source.shape)
    source, target = ((values * a).sum(-1) * h.grid.scale for a in (a_source, a_target))
    alpha = floating.edge_softmax(csr, F.leaky_relu(source[csr.col] + target[csr.row], negative_slope))
    acc = floating.spmm(csr, values, alpha)
    return finish((acc.flatten(1) if concat else acc.mean(1)).double(), epilogue)


def segment_reduce(x: Codes, ptr: Tensor, mode: str, epilogue: Epilogue) -> Codes | Tensor:
    return finish(floating.segment_reduce(_centred(x).double(), ptr, mode), epilogue)


def lookup(table: Codes, index: Tensor) -> Codes:
    return Codes(table.data.index_select(0, index), table.channels, table.grid)


def finish(acc: Tensor, epilogue: Epilogue) -> Codes | Tensor:
    """The result for sums acc, float64 [N, C]."""
    e = epilogue.folded
    v = acc if e.row_scale is None else acc * e.row_scale.unsqueeze(1)
    v = v * e.multiplier
    if e.bias is not None:
        v = v + e.bias
    if e.pre_relu:
        v = v.clamp(min=0)
    if e.gain is not None and e.offset is not None:
        v = v * e.gain
        v = v + e.offset
    if e.activation == "relu":
        v = v.clamp(min=0)
    if e.activation == "elu":
        v = torch.where(v > 0, v, exp(v.clamp(max=0)) - 1)
    if e.residual is not None:
        shortcut = _centred(e.residual).double() * epilogue.residual_step
        v = v + shortcut
    if e.grid is None:
        return v.to(torch.float32)
    return _encode(v if epilogue.in_steps else v * (1 / e.grid.scale), e.grid)


def exp(v: Tensor) -> Tensor:
    """e^v for float64 v <= 0, to an absolute error below 3e-16: the operations that every version does.

    v = n ln 2 + r with n whole; e^r by its Taylor series (13 terms, Horner), times 2^n. Not torch's own, whose last
    bits depend on the machine.
    """
    v = v.clamp(min=LOWEST_EXPONENT)
    n = torch.round(v * LOG2_E)
    r = (v - n * LN2_HIGH) - n * LN2_LOW
    p = torch.full_like(r, EXP_TERMS[0])
    for term in EXP_TERMS[1:]:
        p = p * r
        p = p + term
    return p * ((n.long() + 1023) << 52).view(torch.float64)


def _centred(x: Codes) -> Tensor:
    """Codes less their zero point, int32 [N, channels]."""
    return x.unpack().to(torch.int32) - x.grid.zero_point


def _edge_sums(csr: CSR, x: Codes) -> Tensor:
    """Sums over incoming edges of codes less their zero point, exact, float64 [N, channels]."""
    values = _centred(x)
    return values.new_zeros(csr.num_nodes, x.channels).index_add_(0, csr.row, values.index_select(0, csr.col)).double()


def _over_degree(csr: CSR, acc: Tensor) -> Tensor:
    return acc / csr.in_degree.clamp(min=1).double().unsqueeze(1)


def _encode(v: Tensor, grid: CodeGrid) -> Codes:
    """The codes of values in steps of a grid."""
    code = torch.round(v) + grid.zero_point
    return Codes.of(code.clamp(0, grid.top), grid)
