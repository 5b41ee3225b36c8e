"""The compiled `linear` and the gradient of its weight."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from versions import cpu

from dqrun import kernels
from dqrun.kernels import reference
from dqrun.kernels.cpu import dense
from dqrun.kernels.cpu.codes import decode, encode
from dqrun.kernels.cpu.outer import sum_outer, sum_outer_coded


def run(version, x: Tensor, weight: Tensor, bias: Tensor, relu: bool) -> list[Tensor]:
    leaves = [tensor.clone().requires_grad_() for tensor in (x, weight, bias)]
    y = version.linear(*leaves, relu)
    gradients = torch.autograd.grad((y * torch.arange(y.numel()).view_as(y).cos()).sum(), leaves)
    return [y.detach(), *gradients]


def tensors(rows: int, inputs: int, outputs: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(rows)
    sizes = [(rows, inputs), (outputs, inputs), (outputs,)]
    return tuple(torch.randn(size, generator=generator) for size in sizes)


@pytest.mark.usefixtures("num_threads")
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize(
    "shape", [(0, 3, 2), (1, 1, 1), (5, 7, 3), (3000, 145, 145), (2708, 1433, 16), (20_000, 64, 64)]
)
@pytest.mark.parametrize("has_onednn", [True, False])
def test_is_the_reference(shape: tuple[int, int, int], relu: bool, has_onednn: bool, monkeypatch) -> None:
    monkeypatch.setattr(dense, "_HAS_ONEDNN", has_onednn and dense._HAS_ONEDNN)
    for ours, theirs in zip(run(cpu, *tensors(*shape), relu), run(reference, *tensors(*shape), relu), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-3)


def test_no_gradient_goes_to_an_input_that_asks_for_none() -> None:
    x, weight, bias = tensors(5, 4, 3)
    y = cpu.linear(x, weight.requires_grad_(), bias.requires_grad_())
    y.sum().backward()
    assert x.grad is None and weight.grad is not None


@settings(max_examples=30)
@given(st.integers(0, 600), st.integers(1, 20), st.integers(1, 70))
def test_sum_outer_of_integers_is_exact(rows: int, height: int, width: int) -> None:
    generator = torch.Generator().manual_seed(rows)
    a, b = (torch.randint(-4, 5, (rows, size), generator=generator).float() for size in (height, width))
    assert torch.equal(sum_outer(a, b), a.t() @ b)


@pytest.mark.usefixtures("num_threads")
@settings(max_examples=40)
@given(
    st.integers(1, 3000), st.integers(1, 20), st.integers(1, 70), st.sampled_from([1, 2, 4, 8]), st.booleans(),
    st.booleans(),
)  # fmt: skip
def test_a_coded_factor_gives_the_bits_of_the_decoded_one(
    rows: int, height: int, width: int, bits: int, protects: bool, relu: bool
) -> None:
    generator = torch.Generator().manual_seed(rows)
    grad, x = (torch.randn(rows, size, generator=generator) for size in (height, width))
    protected = torch.rand(rows, generator=generator) < 0.2 if protects else None
    qmin, zero_point = -(2 ** (bits - 1)), torch.tensor(2 - 2 ** (bits - 1), dtype=torch.int32)
    grid = torch.tensor(0.3), zero_point, qmin, -qmin - 1
    y = kernels.fake_quantize(x, *grid, protected, relu=relu)
    coded = *grid, encode(y, *grid), protected, None if protected is None else y[protected], relu
    assert torch.equal(decode(*coded, y.shape), y)
    assert torch.equal(sum_outer_coded(grad, width, *coded), sum_outer(grad, y))


NEW_SHAPES = """
import torch
from dqrun import kernels

def resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096

weight, taken = torch.randn(64, 64), []
for rows in range(1000, 1400):
    kernels.linear(torch.randn(rows, 64), weight)
    taken.append(resident())
print(taken[-1] - taken[100])
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_shapes_that_were_met_are_not_all_kept() -> None:
    """In a process of its own: limits are read at the first product. Without them 300 shapes take 150 MB."""
    result = subprocess.run([sys.executable, "-c", NEW_SHAPES], capture_output=True, text=True, check=True)
    assert int(result.stdout) < 40e6
