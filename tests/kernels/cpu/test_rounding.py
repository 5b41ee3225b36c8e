"""The compiled `fake_quantize`: bit for bit torch's and the reference's."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from versions import cpu

from dqrun.kernels import Noise, reference

# torch's own converts to int64 first, which is undefined for larger quotients
values = st.lists(st.floats(-1e4, 1e4, width=32), min_size=1, max_size=70).map(torch.tensor)
scales = st.floats(2**-10, 100, width=32).map(torch.tensor)
grids = st.sampled_from([(0, -8, 7), (3, 0, 15), (-100, -128, 127), (1, -2, 1)])
noises = st.sampled_from([None, Noise(0.5, 1, 2**32 - 2), Noise(0.1, 2**32 - 3, 7)])


def upstream(size: int, special: bool = False) -> Tensor:
    """A gradient of either sign; `special`: some of it infinite."""
    gradient = torch.arange(1.0, size + 1)
    gradient[3::5] *= -1
    if special:
        gradient[1::5] = torch.inf
    return gradient


def run(version, x: Tensor, *args, special: bool = False) -> tuple[Tensor, Tensor]:
    leaf = x.clone().requires_grad_()
    y = version.fake_quantize(leaf, *args)
    y.backward(upstream(x.numel(), special).view_as(x))
    assert leaf.grad is not None
    return y.detach(), leaf.grad


def require_equal_bits(ours: Tensor, theirs: Tensor) -> None:
    """The same numbers, and the same sign of zero; of a NaN the sign and the payload may differ."""
    assert torch.equal(ours.isnan(), theirs.isnan())
    known = ~ours.isnan()
    assert torch.equal(ours[known].view(torch.int32), theirs[known].view(torch.int32))


@pytest.mark.parametrize("version", [cpu, reference])
@given(values, scales, grids)
def test_is_torchs_bit_for_bit(version, x: Tensor, scale: Tensor, grid: tuple[int, int, int]) -> None:
    zero_point, qmin, qmax = torch.tensor(grid[0], dtype=torch.int32), grid[1], grid[2]
    leaf = x.clone().requires_grad_()
    expected = torch.fake_quantize_per_tensor_affine(leaf, scale, zero_point, qmin, qmax)
    expected.backward(upstream(x.numel()))
    y, gradient = run(version, x, scale, zero_point, qmin, qmax, None, "clipped")
    assert torch.equal(y, expected)
    assert leaf.grad is not None and torch.equal(gradient, leaf.grad)


@given(
    st.integers(0, 5), st.sampled_from([(), (1,), (7,), (3, 2)]), scales, grids,
    st.sampled_from(["ste", "clipped", "clipped_ends"]), st.booleans(), st.booleans(), noises, st.booleans(),
    st.integers(0, 999),
)  # fmt: skip
def test_is_the_reference_bit_for_bit(
    rows: int, shape: tuple[int, ...], scale: Tensor, grid: tuple[int, int, int], estimator: str, kept: bool,
    relu: bool, noise: Noise | None, special: bool, seed: int,
) -> None:  # fmt: skip
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, *shape, generator=generator) * 10 * scale
    if special:
        at = torch.randint(4, x.shape, generator=generator)
        x = torch.tensor([torch.nan, torch.inf, -torch.inf, -0.0])[at].where(x < 0, x)
    protected = torch.rand(rows, generator=generator) < 0.5 if kept else None
    args = (scale, torch.tensor(grid[0], dtype=torch.int32), grid[1], grid[2], protected, estimator, relu, noise)
    for ours, theirs in zip(*(run(version, x, *args, special=special) for version in (cpu, reference)), strict=True):
        require_equal_bits(ours, theirs)


@pytest.mark.usefixtures("num_threads")
@pytest.mark.parametrize("noise", [None, Noise(0.5, 5, 6)])
@pytest.mark.parametrize("width", [1, 7, 64])
def test_parts_cover_large_tensors(width: int, noise: Noise | None) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(50_000 // width, width, generator=generator)
    protected = torch.rand(x.size(0), generator=generator) < 0.3
    args = (torch.tensor(0.3), torch.tensor(1, dtype=torch.int32), -4, 3, protected, "clipped_ends", False, noise)
    for ours, theirs in zip(run(cpu, x, *args), run(reference, x, *args), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("version", [cpu, reference])
def test_what_is_not_finite(version) -> None:
    x = torch.tensor([torch.inf, -torch.inf, torch.nan])
    y = version.fake_quantize(x, torch.tensor(0.5), torch.tensor(0, dtype=torch.int32), -8, 7)
    torch.testing.assert_close(y, torch.tensor([3.5, -4.0, torch.nan]), equal_nan=True)


@pytest.mark.parametrize("version", [cpu, reference])
def test_takes_tensors_that_are_not_contiguous_and_scalars(version) -> None:
    args = (torch.tensor(0.5), torch.tensor(0, dtype=torch.int32), -8, 7)
    x = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    protected = torch.tensor([True, False] * 4)
    assert torch.equal(version.fake_quantize(x.t(), *args), version.fake_quantize(x.t().contiguous(), *args))
    assert torch.equal(
        version.fake_quantize(x, *args, protected[:6]), version.fake_quantize(x, *args, protected[:6].clone())
    )
    assert version.fake_quantize(torch.tensor(0.7), *args).item() == 0.5


def test_second_derivatives_are_refused() -> None:
    x = torch.ones(2, requires_grad=True)
    y = cpu.fake_quantize(x, torch.tensor(0.5), torch.tensor(0, dtype=torch.int32), -8, 7, None, "clipped")
    (gradient,) = torch.autograd.grad((y * y).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()
