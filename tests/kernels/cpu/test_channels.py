"""A scale for each channel: compiled kernels against the definition, and the definition against a channel alone."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dqrun import kernels
from dqrun.graphs import SparseRows
from dqrun.kernels import reference
from dqrun.kernels.blocks import as_block, in_one_block

SHAPES = {
    "out, in": ((5, 33), (5, 1)),
    "in, out": ((33, 5), (1, 5)),
    "attention": ((2, 3, 7), (2, 3, 1)),
    "one head": ((2, 1, 7), (2, 1, 1)),
    "one output": ((1, 9), (1, 1)),
    "of several threads": ((300, 200), (300, 1)),
    "of several threads, across": ((200, 300), (1, 300)),
    "each": ((4, 3), (4, 3)),
    "not in one block": ((2, 3, 7), (2, 1, 7)),
}


def grid_for(shape: tuple[int, ...], scale_shape: tuple[int, ...]) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = 2 * torch.randn(shape, generator=generator)
    scale = 0.1 + torch.rand(scale_shape, generator=generator)
    return x, scale, torch.randint(-2, 3, scale_shape, generator=generator, dtype=torch.int32)


def of_each_channel(scale_shape: tuple[int, ...]) -> list[tuple[slice | int, ...]]:
    """Where the elements of each channel are."""
    places = torch.ones(scale_shape).nonzero().tolist()
    return [
        tuple(slice(None) if size == 1 else at for at, size in zip(place, scale_shape, strict=True)) for place in places
    ]


@pytest.mark.parametrize("version", ["reference", "cpu"])
@pytest.mark.parametrize("estimator", ["ste", "clipped", "clipped_ends"])
@pytest.mark.parametrize("name", SHAPES)
def test_each_channel_is_rounded_as_if_alone(name: str, estimator: str, version: str) -> None:
    x, scale, zero_point = grid_for(*SHAPES[name])
    direction = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    whole, steps = x.clone().requires_grad_(), scale.clone().requires_grad_()
    with kernels.use(version), kernels.ran() as ran:
        y = kernels.fake_quantize_broadcast(whole, steps, zero_point, -7, 7, estimator=estimator)
        y.backward(direction)
    assert ran.name == ("" if name == "not in one block" else version)
    for place, channel in zip(of_each_channel(scale.shape), torch.ones(scale.shape).nonzero().tolist(), strict=True):
        alone, step = x[place].clone().requires_grad_(), scale[tuple(channel)].clone().requires_grad_()
        expected = reference.fake_quantize(alone, step, zero_point[tuple(channel)], -7, 7, estimator=estimator)
        expected.backward(direction[place])
        assert torch.equal(y[place], expected)
        assert torch.equal(whole.grad[place], alone.grad)
        torch.testing.assert_close(steps.grad[tuple(channel)], step.grad, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("version", ["reference", "cpu"])
@pytest.mark.parametrize("percentile", ["symmetric", "kthvalue"])
@pytest.mark.parametrize("tail", [0.0, 0.1, 0.3])
@pytest.mark.parametrize("name", SHAPES)
def test_each_channel_has_the_range_it_would_have_alone(name: str, tail: float, percentile: str, version: str) -> None:
    x, scale, _ = grid_for(*SHAPES[name])
    seen = -scale, 2 * scale
    for before in (None, seen, (torch.full_like(scale, torch.inf), torch.full_like(scale, -torch.inf))):
        with kernels.use(version):
            low, high = kernels.channel_range(x, tuple(scale.shape), tail, before, percentile)
        assert low.shape == high.shape == scale.shape
        for place, channel in zip(
            of_each_channel(scale.shape), torch.ones(scale.shape).nonzero().tolist(), strict=True
        ):
            at = tuple(channel)
            earlier = None if before is None else (before[0][at], before[1][at])
            expected = reference.tail_range(x[place].reshape(-1), tail, None, None, earlier, percentile)
            assert (low[at], high[at]) == expected


def test_rows_take_protection_noise_and_a_relu() -> None:
    x, scale, zero_point = grid_for((6, 20), (6, 1))
    protected, noise = torch.tensor([True, False] * 3), kernels.Noise(0.5, 1, 2)
    y = kernels.fake_quantize_broadcast(x, scale, zero_point, -7, 7, protected, "ste", True, noise)
    for i in range(6):
        rounded = reference.fake_quantize(x[i : i + 1], scale[i, 0], zero_point[i, 0], -7, 7)
        chosen = reference.keeps(x, 0.5, 1, 2)[i : i + 1] & ~protected[i]
        assert torch.equal(y[i : i + 1], torch.where(chosen, rounded, x[i : i + 1]).relu())


def test_sparse_rows_take_the_scales_of_their_rows() -> None:
    x = torch.tensor([[0.0, 1.3, 0.0, -2.2], [0.0, 0.0, 0.9, 0.0], [4.1, 0.0, 0.0, 0.0]])
    grid = torch.tensor([[0.5], [0.2], [1.0]]), torch.tensor([[1], [0], [-1]], dtype=torch.int32), -8, 7
    protected = torch.tensor([False, False, True])
    expected = kernels.fake_quantize_broadcast(x, *grid, protected)
    assert torch.equal(kernels.fake_quantize_broadcast(SparseRows.of(x), *grid, protected).to_dense(), expected)


def test_blocks() -> None:
    assert in_one_block((2, 3, 1)) and in_one_block((1, 1)) and in_one_block((4, 1, 1)) and not in_one_block((2, 1, 7))
    assert as_block((2, 3, 7), (2, 3, 1)) == (1, 6, 7)
    assert as_block((33, 5), (1, 5)) == (33, 5, 1) and as_block((5, 33), (1, 1)) == (1, 1, 165)
