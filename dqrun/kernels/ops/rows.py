"""`fake_quantize_rows` and `fake_quantize_sparse_rows`: rounding to grids that rows take from themselves."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dqrun.kernels import rows
from dqrun.kernels.grid_of_range import Grid
from dqrun.kernels.operator import Operator, backward_pass
from dqrun.kernels.ops.rounding import NOISE, cachemask_backward, mask_like, with_noise

GRID = "int qmin, int qmax, bool symmetric, float headroom, str offset, bool power_of_two, str collapsed"
FIELDS = len(Grid._fields)
Args = tuple[Any, ...]


class _FakeQuantize(torch.autograd.Function):
    """Keeps a bit per element where some gradients do not pass: before a ReLU, or at codes that an estimator cuts."""

    @staticmethod
    def forward(ctx: Any, *args: Any) -> Tensor:
        estimator, relu = args[-5:-3]
        masked = relu or estimator == "clipped_ends"
        y, mask = _cachemask.below(*args) if masked else (fake_quantize_rows.below(*args), None)
        ctx.save_for_backward(mask)
        return y  # type: ignore[no-any-return]

    @staticmethod
    @backward_pass
    def backward(ctx: Any, grad: Tensor) -> Args:
        (mask,) = ctx.saved_tensors
        return (grad if mask is None else cachemask_backward(grad, mask), *[None] * (FIELDS + 7))


class _FakeQuantizeSparse(torch.autograd.Function):
    """Every gradient passes."""

    @staticmethod
    def forward(ctx: Any, *args: Any) -> Tensor:
        return fake_quantize_sparse_rows.below(*args)  # type: ignore[no-any-return]

    @staticmethod
    @backward_pass
    def backward(ctx: Any, grad: Tensor) -> Args:
        return (grad, *[None] * (FIELDS + 4))


def _dense(args: Args) -> Args:
    """An operator's arguments as a function takes them."""
    x, size, *rest = with_noise(args)
    return x, size, Grid(*rest[:FIELDS]), *rest[FIELDS:]


ARGUMENTS = f"(Tensor x, int size, {GRID}, Tensor? protected, str estimator, bool relu, {NOISE})"

fake_quantize_rows = Operator(
    f"fake_quantize_rows{ARGUMENTS} -> Tensor",
    lambda *args: rows.fake_quantize_rows(*_dense(args)),
    lambda x, *_: x.new_empty(x.shape),
    _FakeQuantize,
    (0,),
)
_cachemask = Operator(
    f"fake_quantize_rows_cachemask{ARGUMENTS} -> (Tensor, Tensor)",
    lambda *args: rows.cachemask(*_dense(args)),
    lambda x, *_: (x.new_empty(x.shape), mask_like(x)),
)
fake_quantize_sparse_rows = Operator(
    f"fake_quantize_sparse_rows(Tensor x, Tensor ptr, Tensor row, Tensor zeros, Tensor? protected, {GRID}) -> Tensor",
    lambda x, ptr, row, zeros, protected, *grid: rows.fake_quantize_sparse_rows(
        x, ptr, row, zeros, protected, Grid(*grid)
    ),
    lambda x, *_: x.new_empty(x.shape),
    _FakeQuantizeSparse,
    (0,),
)
