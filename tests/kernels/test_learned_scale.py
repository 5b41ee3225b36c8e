"""The gradient of a learned step: against LSQ written with autograd, and the compiled version against the reference."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from versions import cpu

from dqrun.kernels import Noise, reference

ESTIMATORS = st.sampled_from(["ste", "clipped", "clipped_ends"])
NOISES = st.sampled_from([None, Noise(0.5, 3, 4)])
GRIDS = st.sampled_from([(0, -7, 7), (3, 0, 15), (-2, -8, 7), (1, -2, 1)])


def lsq(x: Tensor, scale: Tensor, zero_point: int, qmin: int, qmax: int) -> Tensor:
    """Esser et al. 2020, appendix A, with a zero point: rounding passes gradients, clamping only inside."""
    place = (x / scale).clamp(qmin - zero_point, qmax - zero_point)
    rounded = (place.round() - place).detach() + place
    return rounded * scale


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def gradients(version, x: Tensor, scale: float, grid: tuple[int, int, int], *rest: object) -> tuple[Tensor, ...]:
    """Of x and of the scale, for a fixed direction."""
    leaf, step = x.clone().requires_grad_(), torch.tensor(scale, dtype=x.dtype).requires_grad_()
    y = version.fake_quantize(leaf, step, torch.tensor(grid[0], dtype=torch.int32), *grid[1:], *rest)
    return torch.autograd.grad((y * normal(*x.shape, seed=9).to(x.dtype)).sum(), (leaf, step))


@given(GRIDS, st.floats(0.05, 2), st.integers(0, 99))
def test_it_is_lsqs(grid: tuple[int, int, int], scale: float, seed: int) -> None:
    x = normal(40, 3, seed=seed)
    leaf, step = x.clone().requires_grad_(), torch.tensor(scale, dtype=x.dtype).requires_grad_()
    y = lsq(leaf, step, *grid)
    expected = torch.autograd.grad((y * normal(*x.shape, seed=9)).sum(), step)[0]
    torch.testing.assert_close(gradients(reference, x, scale, grid)[1], expected)


@pytest.mark.parametrize("version", [reference, cpu])
def test_eq_3_value_by_value(version) -> None:
    zero_point, step = torch.tensor(0, dtype=torch.int32), 0.5
    for v, slope in ((-9.0, -4.0), (-4.0, -4.0), (-0.75, -0.25), (0.25, -0.25), (1.0, 0.0), (2.75, 0.25), (3.0, 3.0)):
        scale = torch.tensor(step, requires_grad=True)
        version.fake_quantize(torch.tensor([v * step]), scale, zero_point, -4, 3).sum().backward()
        assert scale.grad is not None and scale.grad.item() == slope


@given(st.floats(0.1, 1), st.integers(0, 99))
def test_where_values_are_clipped_it_is_the_derivative(scale: float, seed: int) -> None:
    """There the result is an end code times the step, which finite differences can see."""
    x = torch.sign(normal(30, seed=seed)) * (20 + normal(30, seed=seed + 1).abs())
    zero_point = torch.tensor(1, dtype=torch.int32)
    step = torch.tensor(scale, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda s: reference.fake_quantize(x, s, zero_point, -8, 7), (step,))


@given(GRIDS, st.integers(0, 99))
def test_rounding_error_is_what_finite_differences_leave_out(grid: tuple[int, int, int], seed: int) -> None:
    """With every code held, y = code * step; the estimator takes x / step off, as if codes followed x."""
    zero_point, qmin, qmax = grid
    x, scale = normal(50, seed=seed), 0.3
    place = x / scale
    inside = (place > qmin - zero_point) & (place < qmax - zero_point)
    codes = place.round().clamp(qmin - zero_point, qmax - zero_point)
    direction = normal(50, seed=9)
    expected = (direction * (codes - torch.where(inside, place, 0.0))).sum()
    torch.testing.assert_close(gradients(reference, x, scale, grid)[1], expected)


@settings(max_examples=60)
@given(st.integers(0, 9), st.sampled_from([1, 31, 64]), GRIDS, ESTIMATORS, st.booleans(), st.booleans(), NOISES)
def test_compiled(
    rows: int, width: int, grid: tuple[int, int, int], estimator: str, kept: bool, relu: bool, noise: Noise | None
) -> None:
    x = normal(rows, width).float() * 3
    protected = torch.arange(rows) % 3 == 0 if kept else None
    ours, theirs = (gradients(version, x, 0.5, grid, protected, estimator, relu, noise) for version in (cpu, reference))
    assert torch.equal(ours[0], theirs[0])
    torch.testing.assert_close(ours[1], theirs[1], rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("num_threads")
@pytest.mark.parametrize("kept", [False, True])
def test_compiled_over_large_tensors(kept: bool) -> None:
    x = normal(3000, 17).float()
    protected = torch.arange(3000) % 3 == 0 if kept else None
    ours, theirs = (gradients(v, x, 0.3, (1, -4, 3), protected, "clipped") for v in (cpu, reference))
    torch.testing.assert_close(ours[1], theirs[1], rtol=1e-4, atol=1e-2)


def test_kept_rows_give_none_and_keep_their_own() -> None:
    x, protected = normal(6, 2), torch.tensor([True, False] * 3)
    loud = x.clone()
    loud[protected] = 1e6
    for version, dtype in ((reference, torch.float64), (cpu, torch.float32)):
        quiet, other = (gradients(version, t.to(dtype), 0.5, (0, -8, 7), protected, "clipped") for t in (x, loud))
        torch.testing.assert_close(quiet[1], other[1])
        assert torch.equal(quiet[0][protected], normal(6, 2, seed=9).to(dtype)[protected])


@settings(max_examples=60)
@given(
    st.integers(0, 80), st.sampled_from([None, 3]), GRIDS, ESTIMATORS, st.booleans(), st.booleans(), NOISES,
    st.integers(0, 99),
)  # fmt: skip
def test_messages(
    random_graph, edges: int, heads: int | None, grid: tuple[int, int, int], estimator: str, kept: bool, weighted: bool,
    noise: Noise | None, seed: int,
) -> None:  # fmt: skip
    csr = random_graph(12, edges, "both", seed)
    x = normal(*((12, 4) if heads is None else (12, heads, 4)), seed=seed).float()
    weight = normal(*((edges,) if heads is None else (edges, heads)), seed=1).abs().float() if weighted else None
    protected = torch.arange(12) % 3 == 0 if kept else None
    found = []
    for version in (cpu, reference):
        leaf, step = x.clone().requires_grad_(), torch.tensor(0.4).requires_grad_()
        args = (step, torch.tensor(grid[0], dtype=torch.int32), *grid[1:], protected, estimator, noise)
        y = version.spmm_quantized(csr, leaf, weight, *args)
        found.append(torch.autograd.grad((y * normal(*x.shape, seed=9).float()).sum(), (leaf, step)))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("num_threads")
def test_messages_of_a_large_graph(random_graph) -> None:
    csr, x, weight = random_graph(500, 9000, "both"), normal(500, 8).float(), normal(9000).float()
    found = []
    for version in (cpu, reference):
        step = torch.tensor(0.2).requires_grad_()
        y = version.spmm_quantized(csr, x, weight, step, torch.tensor(0, dtype=torch.int32), -8, 7)
        found.append(torch.autograd.grad((y * normal(500, 8, seed=9).float()).sum(), step)[0])
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-2)
