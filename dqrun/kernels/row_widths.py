"""Rounding of rows that differ in width, in plain torch; rows may be sparse."""

from __future__ import annotations

import math
from typing import Any, TypeVar

import torch
from torch import Tensor

from dqrun.graphs import Rows, SparseRows
from dqrun.kernels import reference, sparse
from dqrun.kernels.combine import values_of, with_values

R = TypeVar("R", bound=Rows)


def fake_quantize_row_widths(
    x: R,
    scale: Tensor,
    zero_point: Tensor,
    levels: Tensor,
    qmin: int,
    protected: Tensor | None = None,
    offset: Tensor | None = None,
) -> R:
    """`fake_quantize_broadcast` where row i has the codes from qmin to qmin + levels[i] - 1.

    scale, zero_point (float32), levels, offset: [N, 1, ...], as x has dimensions. Gradient to x: identity; none to the
    rest. protected: bool [N], rows that stay exact.
    """
    exact = protected
    if isinstance(x, SparseRows):
        assert offset is None
        row, exact = x.where.places.row, sparse.of_values(x, protected)
        scale, zero_point, levels = (each.flatten()[row] for each in (scale, zero_point, levels))
    low: Any = torch.full_like(levels, qmin)
    high: Any = levels + (qmin - 1)  # tensors where the definition has numbers: they broadcast as scales do
    y = reference.fake_quantize(values_of(x), scale, zero_point, low, high, exact, offset=offset)
    return with_values(x, y)


@torch.no_grad()
def mean_error_of_rows(x: Rows, y: Rows) -> Tensor:
    """The mean of |y - x| over each row, zeros of sparse rows included, float32 [N]."""
    row = x.where.places.row if isinstance(x, SparseRows) else None
    return _mean_of_rows((values_of(y) - values_of(x)).abs(), row, x.size(0), math.prod(x.shape[1:]))


def fake_quantize_local(x: R, scale: Tensor, bits: Tensor, signed: bool) -> R:
    """Rounds row i to sign(v) s_i min(floor(|v| / s_i + 1/2), qmax_i), with A2Q's gradients (Zhu et al., ICLR 2023).

    x: float32 [N, ...] or sparse rows; scale, bits: float32 [N], bits whole and >= 1. qmax = 2^(bits - 1) - 1 where
    `signed`, else 2^bits - 1 and negative values become 0. Gradient to x: identity within the grid, 0 outside.

    scale and bits get the gradient of E_i, the mean over row i of |xhat - v|, not that of the loss ("local gradient",
    section 3.2). With r = sign(xhat - v): within the grid dE/ds = mean r (xhat - v) / s; outside
    dE/ds = mean r sign(v) qmax and dE/db = mean r sign(v) s (qmax + 1) ln 2.
    """
    values, columns = values_of(x), math.prod(x.shape[1:])
    row = x.where.places.row if isinstance(x, SparseRows) else None
    return with_values(x, _Local.apply(values, scale, bits, signed, row, columns))  # type: ignore[no-untyped-call]


class _Local(torch.autograd.Function):
    """`row`: of each value, int64 [K]; None: values are [N, ...]. `columns`: numbers of a row, zeros included."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, scale: Tensor, bits: Tensor, signed: bool, row: Tensor | None, columns: int
    ) -> Tensor:
        qmax = torch.exp2(bits - 1 if signed else bits) - 1
        s, q = (each[row] if row is not None else reference.of_rows(each, x) for each in (scale, qmax))
        low = -q if signed else torch.zeros_like(q)
        code = torch.sign(x) * torch.floor(x.abs() * (1 / s) + 0.5)
        kept = torch.clamp(code, low, q)
        inside, y = kept == code, kept * s
        if ctx.needs_input_grad[1] or ctx.needs_input_grad[2]:
            sign = torch.sign(y - x)
            end = torch.where(~inside & ((x > 0) | signed), sign * torch.sign(x), 0.0)
            of_scale = torch.where(inside, sign * (y - x) / s, end * q)
            slopes = of_scale, end * s * (q + 1) * math.log(2)
            ctx.slopes = [_mean_of_rows(each, row, scale.numel(), columns) for each in slopes]
        ctx.save_for_backward(inside)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (inside,) = ctx.saved_tensors
        return (grad.where(inside, 0.0), *getattr(ctx, "slopes", (None, None)), None, None, None)


def _mean_of_rows(values: Tensor, row: Tensor | None, rows: int, columns: int) -> Tensor:
    """Means of each row, float32 [N]; sparse values count with `columns` numbers per row."""
    if row is None:
        return values.flatten(1).mean(1)
    return values.new_zeros(rows).index_add_(0, row, values) / columns
