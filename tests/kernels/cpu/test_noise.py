"""Dropout: one mask for both versions, and it looks random."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from versions import cpu

from dqrun import kernels
from dqrun.kernels import reference

words = st.integers(0, 2**32 - 1)


@given(st.sampled_from([(0,), (1,), (7,), (3, 5), (2, 3, 4)]), st.floats(0.01, 0.99), words, words)
def test_both_versions_are_equal(shape: tuple[int, ...], p: float, low: int, high: int) -> None:
    x = torch.randn(shape)
    results = []
    for version in (cpu, reference):
        leaf = x.clone().requires_grad_()
        y = version.dropout(leaf, p, low, high)
        y.backward(torch.ones_like(y))
        results.append((y.detach(), leaf.grad))
    assert torch.equal(results[0][0], results[1][0])
    torch.testing.assert_close(results[0][1], results[1][1])


@pytest.mark.usefixtures("num_threads")
def test_large_tensors() -> None:
    x = torch.randn(1000, 123)
    assert torch.equal(cpu.dropout(x, 0.3, 2**32 - 5, 7), reference.dropout(x, 0.3, 2**32 - 5, 7))


@pytest.mark.parametrize("p", [0.1, 0.5, 0.8])
def test_share_scale_and_independence(p: float) -> None:
    x = torch.ones(1_000_000)
    torch.manual_seed(0)
    first, second = (kernels.dropout(x, p, True) for _ in range(2))
    for y in (first, second):
        assert (y == 0).float().mean().item() == pytest.approx(p, abs=2e-3)
        assert y.mean().item() == pytest.approx(1, abs=1e-2)
    zero = first == 0
    assert (zero & (second == 0)).float().mean().item() == pytest.approx(p * p, abs=2e-3)  # of one another
    assert (zero[1:] & zero[:-1]).float().mean().item() == pytest.approx(p * p, abs=2e-3)  # of the neighbour


def test_identity_outside_training_and_at_zero() -> None:
    x = torch.randn(5)
    state = torch.get_rng_state()
    assert kernels.dropout(x, 0.5, False) is x
    assert kernels.dropout(x, 0.0, True) is x
    assert torch.equal(torch.get_rng_state(), state)


def test_follows_the_global_generator() -> None:
    x = torch.ones(100)
    outputs = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        outputs.append(kernels.dropout(x, 0.5, True))
    assert torch.equal(outputs[0], outputs[1]) and not torch.equal(outputs[0], outputs[2])
