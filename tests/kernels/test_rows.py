"""`fake_quantize_rows`: the compiled version gives its definition's bits, gradients included."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import Tensor

from dqrun import kernels
from dqrun.graphs import SparseRows
from dqrun.kernels import Noise
from dqrun.kernels.grid_of_range import Grid

CODES = ((-8, 7), (0, 3), (-1, 1))
GRIDS = [
    Grid(*codes, symmetric, headroom, offset, power_of_two, collapsed)
    for codes in CODES
    for symmetric, offset in ((True, "inside"), (False, "inside"), (False, "integer"), (False, "real"))
    for power_of_two, headroom, collapsed in ((False, 0.0, "zero"), (True, 0.0037, "zero"), (False, 0.0037, "unit"))
]
NOISE = Noise(0.5, 3, 2**32 - 9)
OPTIONS = (
    (0, False, "ste", False, None),
    (0, True, "clipped", True, None),
    (4, True, "clipped_ends", False, None),
    (3, False, "clipped_ends", True, NOISE),
    (0, True, "ste", False, NOISE),
)
"""Size of the parts of a row, whether rows are protected, estimator, whether a ReLU follows, noise."""


def matrix(rows: int, width: int) -> Tensor:
    """Rows of either sign, far from zero, constant, tiny, zero."""
    x = torch.randn(rows, width, generator=torch.Generator().manual_seed(width))
    for row, value in zip((1, 2, 3, 4), (100 + x[1], torch.full_like(x[2], -5.0), x[3] * 1e-38, 0.0), strict=True):
        x[row] = value
    return x


def gradient(y: Tensor, x: Tensor) -> Tensor:
    (found,) = torch.autograd.grad((y * torch.arange(1.0, y.numel() + 1).view_as(y)).sum(), x)
    return found


@pytest.mark.parametrize(("rows", "width"), [(7, 10), (70, 16), (6, 1), (5, 700)])
def test_both_versions_give_the_same_bits(rows: int, width: int) -> None:
    x, masked = matrix(rows, width).requires_grad_(), torch.arange(rows) % 3 == 0
    for grid, (size, protects, estimator, relu, noise) in product(GRIDS, OPTIONS):
        found = []
        for version in ("reference", "cpu"):
            with kernels.use(version), kernels.ran() as ran:
                how = size, grid, masked if protects else None, estimator, relu, noise
                y = kernels.fake_quantize_rows(x, *how)
                found.append((y, gradient(y, x)))
            assert ran.name == version
        assert torch.equal(found[0][0], found[1][0]), (grid, size, estimator)
        assert torch.equal(found[0][1], found[1][1]), (grid, size, estimator)


@pytest.mark.parametrize("protects", [False, True])
def test_both_versions_give_sparse_rows_the_bits_of_rows(protects: bool) -> None:
    x = matrix(7, 10).where(torch.rand(7, 10, generator=torch.Generator().manual_seed(1)) < 0.4, 0.0)
    x[1], masked = matrix(7, 10)[1], torch.arange(7) % 3 == 0 if protects else None
    sparse = SparseRows.of(x)
    sparse.values.requires_grad_()
    for grid in GRIDS:
        expected = kernels.fake_quantize_rows(x, 0, grid.with_zero(), masked)
        for version in ("reference", "cpu"):
            with kernels.use(version):
                y = kernels.fake_quantize_rows(sparse, 0, grid, masked, "clipped")
            assert torch.equal(y.to_dense(), expected)
            assert torch.equal(gradient(y.values, sparse.values), torch.arange(1.0, y.values.numel() + 1))


def test_threads_share_rows_and_words_of_bits() -> None:
    """Rows of 3 elements end within words; 200 kB are more than one thread's share."""
    x = torch.randn(17_001, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    found = []
    for version in ("reference", "cpu"):
        with kernels.use(version):
            y = kernels.fake_quantize_rows(x, 0, Grid(0, 3, offset="integer"), relu=True)
            found.append((y, gradient(y, x)))
    assert torch.equal(found[0][0], found[1][0]) and torch.equal(found[0][1], found[1][1])


def test_an_integer_offset_is_at_most_sixteen_ranges() -> None:
    grid, far = Grid(0, 3, offset="integer"), torch.tensor([[1000.0, 1000.001]])
    scale, zero_point, _ = grid.scales(far[:, :1], far[:, 1:])
    assert int(zero_point) == -48 and float(scale) == pytest.approx(1000 / 48)
    assert (kernels.fake_quantize_rows(far, 0, grid) - far).abs().max() <= scale / 2
