"""Rounding with a range for each row, in plain torch: the definitions of `ops.rows`."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from dqrun.kernels import gradients, reference
from dqrun.kernels.grid_of_range import Grid
from dqrun.kernels.noise import Noise
from dqrun.kernels.reference import Range


def fake_quantize_rows(
    x: Tensor,
    size: int,
    grid: Grid,
    protected: Tensor | None = None,
    estimator: str = "ste",
    relu: bool = False,
    noise: Noise | None = None,
) -> Tensor:
    estimator = "ste" if estimator == "clipped" else estimator  # no element lies outside its own row's range
    scale, zero_point, offset = grid.scales(*row_extremes(x, size))
    ends = grid.qmin, grid.qmax
    return reference.fake_quantize(x, scale, zero_point, *ends, protected, estimator, relu, noise, offset)


def cachemask(
    x: Tensor, size: int, grid: Grid, protected: Tensor | None, estimator: str, relu: bool, noise: Noise | None
) -> tuple[Tensor, Tensor]:
    """`fake_quantize_rows` and where its gradient passes, as `gradients.cachemask` gives it."""
    y = fake_quantize_rows(x, size, grid, protected, estimator, relu, noise)
    scale, zero_point, offset = grid.scales(*row_extremes(x, size))
    shifted, estimator = x if offset is None else x - offset, "ste" if estimator == "clipped" else estimator
    passes = gradients.passes(shifted, scale, zero_point, grid.qmin, grid.qmax, protected, estimator, noise)
    return y, gradients.pack(passes & ~(y <= 0) if relu else passes)


def fake_quantize_sparse_rows(
    values: Tensor, ptr: Tensor, row: Tensor, zeros: Tensor, protected: Tensor | None, grid: Grid
) -> Tensor:
    """values [K]: those of row i are ptr[i] to ptr[i + 1]; row [K]: row of each value; zeros [N]: number of zeros of
    each row that are not stored."""
    scale, zero_point, _ = grid.with_zero().scales(*sparse_extremes(values, row, zeros))
    exact = None if protected is None else protected[row]
    return reference.fake_quantize(values, scale[row], zero_point[row], grid.qmin, grid.qmax, exact)


@torch.no_grad()
def row_extremes(x: Tensor, size: int) -> Range:
    flat = x.detach().flatten(1)
    if not size or size >= flat.size(1):
        return reference.of_rows(flat.amin(1), x), reference.of_rows(flat.amax(1), x)
    rest, infinity = -flat.size(1) % size, float("inf")
    low, high = (F.pad(flat, (0, rest), value=end).view(flat.size(0), -1, size) for end in (infinity, -infinity))
    ends = (each.repeat_interleave(size, 1)[:, : flat.size(1)] for each in (low.amin(2), high.amax(2)))
    low, high = (each.reshape(x.shape) for each in ends)
    return low, high


@torch.no_grad()
def sparse_extremes(values: Tensor, row: Tensor, zeros: Tensor) -> Range:
    """Minimum and maximum of each sparse row, [N] each; arguments as for `fake_quantize_sparse_rows`."""
    ends = values.new_full((2, zeros.numel()), float("inf"))
    low = ends[0].scatter_reduce(0, row, values, "amin")
    high = -ends[1].scatter_reduce(0, row, -values, "amin")
    left = zeros > 0
    return torch.where(left, low.clamp(max=0.0), low), torch.where(left, high.clamp(min=0.0), high)
