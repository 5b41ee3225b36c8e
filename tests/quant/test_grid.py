"""Grids against torch's fake-quantise and against their definition."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dqrun.errors import ConfigError
from dqrun.quant import Grid

grids = st.builds(Grid, bits=st.integers(2, 8), signed=st.booleans(), symmetric=st.booleans())
bounds = st.tuples(
    st.floats(-1e4, 1e4, width=32, allow_subnormal=False), st.floats(-1e4, 1e4, width=32, allow_subnormal=False)
).map(sorted)


@given(grid=grids, bound=bounds)
def test_zero_is_representable(grid: Grid, bound: list[float]) -> None:
    low, high = torch.tensor(bound)
    scale, zero_point = grid.params(low, high)
    code = grid.encode(torch.zeros(1), scale, zero_point)
    assert grid.decode(code, scale, zero_point).item() == 0.0
    assert grid.qmin <= int(zero_point) <= grid.qmax
    assert scale > 0


@given(grid=grids, bound=bounds, values=st.lists(st.floats(-2e4, 2e4, width=32), min_size=1, max_size=20))
def test_encode_decode_is_idempotent_and_within_half_a_step(
    grid: Grid, bound: list[float], values: list[float]
) -> None:
    low, high = torch.tensor(bound)
    scale, zero_point = grid.params(low, high)
    x = torch.tensor(values)
    codes = grid.encode(x, scale, zero_point)
    assert int(codes.min()) >= grid.qmin and int(codes.max()) <= grid.qmax
    y = grid.decode(codes, scale, zero_point)
    assert torch.equal(grid.encode(y, scale, zero_point), codes)
    inside = (codes > grid.qmin) & (codes < grid.qmax)
    limit = scale.double() * (0.5 + 1e-5) + x.abs().double() * 1e-6
    assert bool(((y.double() - x.double()).abs() <= limit)[inside].all())


@given(bits=st.integers(2, 8), signed=st.booleans(), bound=bounds, seed=st.integers(0, 1000))
def test_affine_grid_equals_torch(bits: int, signed: bool, bound: list[float], seed: int) -> None:
    grid = Grid(bits, signed)
    scale, zero_point = grid.params(*torch.tensor(bound))
    x = torch.randn(64, generator=torch.Generator().manual_seed(seed)) * max(1e-3, abs(bound[1]), abs(bound[0]))
    ours = grid.decode(grid.encode(x, scale, zero_point), scale, zero_point)
    theirs = torch.fake_quantize_per_tensor_affine(x, float(scale), int(zero_point), grid.qmin, grid.qmax)
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize(
    ("grid", "qmin", "qmax"),
    [
        (Grid(8), -128, 127),
        (Grid(8, signed=False), 0, 255),
        (Grid(4, symmetric=True), -7, 7),
        (Grid(4, signed=False, symmetric=True), 0, 15),
        (Grid(2), -2, 1),
    ],
)
def test_codes(grid: Grid, qmin: int, qmax: int) -> None:
    assert (grid.qmin, grid.qmax) == (qmin, qmax)


def test_symmetric_grid_has_zero_point_zero() -> None:
    scale, zero_point = Grid(8, symmetric=True).params(torch.tensor(-3.0), torch.tensor(1.0))
    assert int(zero_point) == 0
    assert float(scale) == pytest.approx(3 / 127)


def test_a_range_of_zeros_keeps_zero_and_clips_the_rest() -> None:
    grid = Grid(4)
    scale, zero_point = grid.params(torch.tensor(0.0), torch.tensor(0.0))
    y = grid.decode(grid.encode(torch.tensor([0.0, 1.0, -5.0]), scale, zero_point), scale, zero_point)
    assert y.abs().max() < 1e-30 and torch.isfinite(y).all()


@pytest.mark.parametrize("grid", [Grid(4, collapsed="unit"), Grid(4, signed=False, collapsed="unit")])
def test_a_unit_grid_of_a_range_of_zeros_holds_integers(grid: Grid) -> None:
    zero = torch.tensor(0.0)
    scale, zero_point = grid.params(zero, zero)
    assert (scale.item(), zero_point.item(), zero_point.dtype) == (1.0, 0, torch.int32)
    assert grid.params(torch.tensor(2.0), torch.tensor(3.0)) == replace(grid, collapsed="zero").params(zero, zero + 3)
    assert grid.params(zero, zero + 1e-30)[0].item() == torch.finfo(torch.float32).eps
    symmetric = replace(grid, symmetric=True).params(zero, zero)
    assert [value.item() for value in symmetric] == [1.0, 0]


@pytest.mark.parametrize("bits", [1, 9, 0, -4])
def test_bits_outside_are_refused(bits: int) -> None:
    with pytest.raises(ConfigError, match=r"grid\.bits must be in 2\.\.8"):
        Grid(bits)


def test_headroom_widens_both_ends() -> None:
    low, high = torch.tensor(-1.0), torch.tensor(3.0)
    wide = Grid(4, headroom=0.25).params(low, high)
    assert wide == Grid(4).params(1.25 * low, 1.25 * high)
    assert wide[0].item() == pytest.approx(5 / 15)
    assert Grid(4, symmetric=True, headroom=0.5).params(low, high)[0].item() == pytest.approx(4.5 / 7)


def test_symmetric_unsigned_grids_reach_the_upper_end() -> None:
    scale, zero_point = Grid(4, signed=False, symmetric=True).params(torch.tensor(-9.0), torch.tensor(3.0))
    assert (scale.item(), zero_point.item()) == (pytest.approx(3 / 15), 0)
