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
from dqrun.kernels.integer.codes import CodeGrid, Codes, Grid
from dqrun.kernels.integer.epilogue import Epilogue
from dqrun.kernels.integer.row_grid import RowGrid
from dqrun.kernels.integer.weight import Weight

LOG2_E = 1.4426950408889634
LN2_HIGH, LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10  # fdlibm: the high part has 33 bits
EXP_TERMS = tuple(1 / math.factorial(n) for n in range(13, -1, -1))
LOWEST_EXPONENT = -700.0


def quantize(x: Tensor, grid: Grid) -> Codes:
    if isinstance(grid, RowGrid):
        codes, numbers = grid.encode(x)
        return Codes.of(codes, grid, numbers)
    inverse = 1 / torch.tensor(grid.scale, dtype=torch.float32)
    codes = torch.round(x * inverse) + grid.zero_point
    return Codes.of(codes.clamp(0, grid.top), grid)


def linear(x: Codes, weight: Weight, epilogue: Epilogue) -> Codes | Tensor:
    return finish(_product(x, weight), epilogue.of_rows(x, weight.row_sums.double()))


def aggregate(csr: CSR, x: Codes, self_weight: float | None, epilogue: Epilogue) -> Codes | Tensor:
    acc = _edge_sums(csr, x)
    return finish(acc if self_weight is None else acc + self_weight * _values(x), epilogue)


def aggregate_mean(csr: CSR, x: Codes, epilogue: Epilogue) -> Codes | Tensor:
    return finish(_over_degree(csr, _edge_sums(csr, x)), epilogue)


def aggregate_weighted(csr: CSR, x: Codes, edge_weight: Tensor, mean: bool, epilogue: Epilogue) -> Codes | Tensor:
    acc = floating.spmm(csr, _values(x), edge_weight.double())
    return finish(_over_degree(csr, acc) if mean else acc, epilogue)


def linear_pair(
    x: Codes, weight: Weight, y: Codes, second_weight: Weight, ratio: Tensor, epilogue: Epilogue
) -> Codes | Tensor:
    return finish(_worth(x, weight) + ratio * _worth(y, second_weight), epilogue)


def attention(
    csr: CSR,
    h: Codes,
    a_source: Tensor,
    a_target: Tensor,
    negative_slope: float,
    concat: bool,
    epilogue: Epilogue,
) -> Codes | Tensor:
    values = _values(h).to(a_source.dtype).view(h.num_rows, *a_source.shape)
    scale = h.grid.scale if isinstance(h.grid, CodeGrid) else 1.0
    source, target = ((values * a).sum(-1) * scale for a in (a_source, a_target))
    alpha = floating.edge_softmax(csr, F.leaky_relu(source[csr.col] + target[csr.row], negative_slope))
    acc = floating.spmm(csr, values, alpha)
    return finish((acc.flatten(1) if concat else acc.mean(1)).double(), epilogue)


def segment_reduce(x: Codes, ptr: Tensor, mode: str, epilogue: Epilogue) -> Codes | Tensor:
    if mode == "max" or isinstance(x.grid, CodeGrid):
        return finish(floating.segment_reduce(_values(x), ptr, mode), epilogue)
    scale, lowest = (numbers.unsqueeze(1) for numbers in x.row_numbers)
    sums = (floating.segment_reduce(each, ptr, "sum") for each in (x.unpack().double() * scale, lowest))
    acc = sum(sums, torch.zeros(1, dtype=torch.float64))
    counts = ptr.diff().clamp(min=1).double().unsqueeze(1)
    return finish(acc / counts if mode == "mean" else acc, epilogue)


def lookup(table: Codes, index: Tensor) -> Codes:
    numbers = None if table.numbers is None else table.numbers.index_select(0, index)
    return Codes(table.data.index_select(0, index), table.channels, table.grid, numbers)


def finish(acc: Tensor, epilogue: Epilogue) -> Codes | Tensor:
    """The result for sums acc, float64 [N, C]."""
    e = epilogue.folded
    v = acc if e.row_scale is None else acc * e.row_scale.unsqueeze(1)
    if e.row_term is not None and e.channel_term is not None:
        v = v + e.row_term.unsqueeze(1) * e.channel_term
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
        v = v + _values(e.residual) * epilogue.residual_step
    if e.grid is None:
        return v.to(torch.float32)
    if isinstance(e.grid, RowGrid):
        return quantize(v.to(torch.float32), e.grid)
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


def _values(x: Codes) -> Tensor:
    """Codes less their zero point or, of a grid for each row, the real numbers; float64 [N, channels]."""
    return x.real() if isinstance(x.grid, RowGrid) else _centred(x).double()


def _product(x: Codes, weight: Weight) -> Tensor:
    """Sums of products of codes, exact, float64 [N, M]."""
    return _centred(x).double() @ weight.codes.double().T


def _worth(x: Codes, weight: Weight) -> Tensor:
    """The same, in real numbers where each row of x has a grid."""
    if isinstance(x.grid, CodeGrid):
        return _product(x, weight)
    scale, lowest = (numbers.unsqueeze(1) for numbers in x.row_numbers)
    return _product(x, weight) * scale + lowest * weight.row_sums.double()


def _edge_sums(csr: CSR, x: Codes) -> Tensor:
    """Sums over incoming edges of `_values`, float64 [N, channels].

    Those of codes are exact. With a grid for each row, sums of scale times code, in the order of edges, plus sums of
    what code 0 stands for: exact as long as they need no more than 53 bits.
    """
    if isinstance(x.grid, CodeGrid):
        return _sums(csr, _centred(x)).double()
    scale, lowest = x.row_numbers
    return _sums(csr, x.unpack().double() * scale.unsqueeze(1)) + _sums(csr, lowest.unsqueeze(1))


def _sums(csr: CSR, values: Tensor) -> Tensor:
    """Sums over incoming edges, in their order, [N, channels]."""
    sums = values.new_zeros(csr.num_nodes, values.size(1))
    return sums.index_add_(0, csr.row, values.index_select(0, csr.col))


def _over_degree(csr: CSR, acc: Tensor) -> Tensor:
    return acc / csr.in_degree.clamp(min=1).double().unsqueeze(1)


def _encode(v: Tensor, grid: CodeGrid) -> Codes:
    """The codes of values in steps of a grid."""
    code = torch.round(v) + grid.zero_point
    return Codes.of(code.clamp(0, grid.top), grid)
