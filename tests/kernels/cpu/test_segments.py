"""The compiled edge softmax and pooling against the reference."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from versions import cpu

from dqrun.kernels import reference


def run(function, x: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
    leaf = x.clone().requires_grad_()
    y = function(leaf)
    return y.detach(), torch.autograd.grad(y, leaf, grad.to(y.dtype))[0]


@settings(max_examples=50)
@given(
    st.integers(1, 20), st.integers(0, 60), st.sampled_from(["none", "target"]), st.sampled_from([1, 3, 8]),
    st.sampled_from([1.0, 80.0]),
)  # fmt: skip
def test_edge_softmax(random_graph, num_nodes: int, num_edges: int, hub: str, heads: int, spread: float) -> None:
    csr, generator = random_graph(num_nodes, num_edges, hub), torch.Generator().manual_seed(num_edges)
    logits = torch.randn(num_edges, heads, generator=generator) * spread
    grad = torch.randn(num_edges, heads, generator=generator)
    ours = run(lambda x: cpu.edge_softmax(csr, x), logits, grad)
    exact = run(lambda x: reference.edge_softmax(csr, x), logits.double(), grad)
    for a, b in zip(ours, exact, strict=True):
        torch.testing.assert_close(a.double(), b, rtol=1e-5, atol=1e-6)


@pytest.mark.usefixtures("num_threads")
def test_edge_softmax_of_a_large_graph(random_graph) -> None:
    csr, generator = random_graph(1000, 20_000, "target"), torch.Generator().manual_seed(0)
    logits, grad = torch.randn(20_000, 4, generator=generator), torch.randn(20_000, 4, generator=generator)
    ours = run(lambda x: cpu.edge_softmax(csr, x), logits, grad)
    exact = run(lambda x: reference.edge_softmax(csr, x), logits.double(), grad)
    for a, b in zip(ours, exact, strict=True):
        torch.testing.assert_close(a.double(), b, rtol=1e-5, atol=1e-6)
    again = run(lambda x: cpu.edge_softmax(csr, x), logits, grad)
    assert all(torch.equal(a, b) for a, b in zip(ours, again, strict=True))


@settings(max_examples=50)
@given(
    st.lists(st.integers(0, 6), max_size=6), st.sampled_from([1, 5]), st.sampled_from(["sum", "mean", "max"])
)  # fmt: skip
def test_segment_reduce(sizes: list[int], channels: int, mode: str) -> None:
    ptr = torch.tensor([0, *sizes]).cumsum(0)
    generator = torch.Generator().manual_seed(sum(sizes))
    x = torch.randint(-2, 3, (sum(sizes), channels), generator=generator).float()  # ties, and exact sums
    grad = torch.randn(len(sizes), channels, generator=generator)
    ours = run(lambda a: cpu.segment_reduce(a, ptr, mode), x, grad)
    theirs = run(lambda a: reference.segment_reduce(a, ptr, mode), x, grad)
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.usefixtures("num_threads")
@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_segment_reduce_of_a_large_batch(mode: str) -> None:
    sizes = torch.randint(0, 90, (60,), generator=torch.Generator().manual_seed(0))
    sizes[5] = 3000  # one graph has about half of the nodes
    ptr = torch.cat([torch.zeros(1, dtype=torch.int64), sizes.cumsum(0)])
    x = torch.randint(-2, 3, (int(ptr[-1]), 16), generator=torch.Generator().manual_seed(1)).float()
    ours = run(lambda a: cpu.segment_reduce(a, ptr, mode), x, torch.ones(60, 16))
    theirs = run(lambda a: reference.segment_reduce(a, ptr, mode), x, torch.ones(60, 16))
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("version", [cpu, reference])
def test_max_does_not_hide_nan(version) -> None:
    x = torch.tensor([[1.0], [torch.nan], [3.0]])
    assert version.segment_reduce(x, torch.tensor([0, 3]), "max").isnan().all()
