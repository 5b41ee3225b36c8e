"""Ranges that rows take from themselves, in plain torch: the definitions of `ops.rows`."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from dqrun.graphs import SparseRows
from dqrun.kernels import reference
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
def sparse_extremes(x: SparseRows) -> Range:
    places = x.where.places
    ends = x.values.new_full((2, places.num_nodes), float("inf"))
    low = ends[0].scatter_reduce(0, places.row, x.values, "amin")
    high = -ends[1].scatter_reduce(0, places.row, -x.values, "amin")
    left = x.where.zeros_of_row > 0
    low, high = torch.where(left, low.clamp(max=0.0), low), torch.where(left, high.clamp(min=0.0), high)
    return low.unsqueeze(1), high.unsqueeze(1)
