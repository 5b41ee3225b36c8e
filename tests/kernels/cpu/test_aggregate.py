"""The compiled sums over edges against the reference.

With small integers and powers of two every sum is exact, so the two versions must agree bit for bit whatever the
order; with normal numbers they agree with the reference in float64 to the rounding of float32 sums.
"""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from versions import cpu

from dqrun.graphs import CSR
from dqrun.kernels import Noise, reference

SCALE, ZERO_POINT = torch.tensor(0.5), torch.tensor(1, dtype=torch.int32)
ESTIMATORS = ("ste", "clipped", "clipped_ends")
shapes = st.sampled_from([(1,), (5,), (64,), (2, 3), (4, 1)])
hubs = st.sampled_from(["none", "source", "target", "both"])


def exact_inputs(csr: CSR, shape: tuple[int, ...], weighted: bool) -> tuple[Tensor, Tensor | None, Tensor]:
    """x, weight and the gradient of the result."""
    generator = torch.Generator().manual_seed(csr.num_edges)
    x = torch.randint(-4, 5, (csr.num_nodes, *shape), generator=generator).float()
    grad = torch.randint(-4, 5, x.shape, generator=generator).float()
    exponents = torch.randint(-2, 2, (csr.num_edges, *shape[:-1]), generator=generator)
    return x, torch.exp2(exponents.float()) if weighted else None, grad


def run(function, x: Tensor, weight: Tensor | None, grad: Tensor) -> list[Tensor]:
    """The result and the gradients."""
    leaves = [leaf.clone().requires_grad_() for leaf in (x, weight) if leaf is not None]
    y = function(*leaves) if weight is not None else function(leaves[0], None)
    return [y.detach(), *torch.autograd.grad(y, leaves, grad)]


def check_quantized(
    csr: CSR,
    inputs: tuple[Tensor, Tensor | None, Tensor],
    protected: Tensor | None,
    how: str,
    noise: Noise | None = None,
) -> None:
    def quantized(version):
        return lambda x, w: version.spmm_quantized(csr, x, w, SCALE, ZERO_POINT, -4, 3, protected, how, noise)

    for ours, theirs in zip(run(quantized(cpu), *inputs), run(quantized(reference), *inputs), strict=True):
        assert torch.equal(ours, theirs)


@settings(max_examples=50)
@given(st.integers(1, 30), st.integers(0, 90), hubs, shapes, st.booleans())
def test_spmm(random_graph, num_nodes: int, num_edges: int, hub: str, shape: tuple[int, ...], weighted: bool) -> None:
    csr = random_graph(num_nodes, num_edges, hub)
    inputs = exact_inputs(csr, shape, weighted)
    ours = run(lambda x, w: cpu.spmm(csr, x, w), *inputs)
    theirs = run(lambda x, w: reference.spmm(csr, x, w), *inputs)
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


@settings(max_examples=50)
@given(
    st.integers(1, 30), st.integers(0, 90), hubs, shapes, st.booleans(), st.booleans(), st.sampled_from(ESTIMATORS),
    st.sampled_from([None, Noise(0.5, 2**32 - 20, 9)]),
)  # fmt: skip
def test_spmm_quantized(
    random_graph, num_nodes: int, num_edges: int, hub: str, shape: tuple[int, ...], weighted: bool, kept: bool,
    how: str, noise: Noise | None,
) -> None:  # fmt: skip
    csr = random_graph(num_nodes, num_edges, hub)
    protected = torch.arange(num_nodes) % 3 == 0 if kept else None
    check_quantized(csr, exact_inputs(csr, shape, weighted), protected, how, noise)


@pytest.mark.usefixtures("num_threads")
@pytest.mark.parametrize("hub", ["none", "source", "target", "both"])
def test_rows_split_between_threads(random_graph, hub: str) -> None:
    csr = random_graph(500, 4000, hub)
    for shape in ((16,), (2, 8)):
        inputs = exact_inputs(csr, shape, weighted=True)
        for noise in (None, Noise(0.3, 1, 2)):
            check_quantized(csr, inputs, torch.arange(500) % 7 == 0, "clipped", noise)
        ours = run(lambda x, w: cpu.spmm(csr, x, w), *inputs)
        theirs = run(lambda x, w: reference.spmm(csr, x, w), *inputs)
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.usefixtures("num_threads")
def test_one_node_has_all_edges(random_graph) -> None:
    csr = CSR.from_edge_index(torch.zeros(2, 6000, dtype=torch.int64), 1)
    inputs = exact_inputs(csr, (16,), weighted=True)
    check_quantized(csr, inputs, None, "clipped")


def test_rounding_of_the_sums(random_graph) -> None:
    csr, generator = random_graph(200, 3000, "both"), torch.Generator().manual_seed(0)
    x, weight = torch.randn(200, 3, 5, generator=generator), torch.randn(3000, 3, generator=generator)
    grad = torch.randn(200, 3, 5, generator=generator)
    ours = run(lambda x, w: cpu.spmm(csr, x, w), x, weight, grad)
    exact = run(lambda x, w: reference.spmm(csr, x, w), x.double(), weight.double(), grad.double())
    for a, b in zip(ours, exact, strict=True):
        torch.testing.assert_close(a.double(), b, rtol=1e-5, atol=2e-4)  # hubs sum 1500 terms of size about 1


@pytest.mark.usefixtures("num_threads")
def test_same_bits_in_each_run(random_graph) -> None:
    csr, generator = random_graph(500, 4000, "both"), torch.Generator().manual_seed(0)
    x, weight = torch.randn(500, 33, generator=generator), torch.randn(4000, generator=generator)

    def once() -> list[Tensor]:
        return run(lambda x, w: cpu.spmm_quantized(csr, x, w, SCALE, ZERO_POINT, -8, 7, None, "clipped"), x, weight, x)

    assert all(torch.equal(a, b) for a, b in zip(once(), once(), strict=True))


def test_gradients_are_made_only_where_needed(random_graph) -> None:
    csr, weight = random_graph(5, 9), torch.ones(9, requires_grad=True)
    cpu.spmm(csr, torch.ones(5, 2), weight).sum().backward()
    assert weight.grad is not None and torch.equal(weight.grad, torch.full((9,), 2.0))


@pytest.mark.parametrize("width", [1, 16, 20, 40, 75, 115, 128, 150])
@pytest.mark.parametrize("weighted", [False, True])
def test_rows_of_any_width_are_summed_in_the_order_of_edges(width: int, weighted: bool) -> None:
    generator = torch.Generator().manual_seed(width)
    csr = CSR.from_edge_index(torch.randint(9, (2, 60), generator=generator), 9)
    x = torch.randn(9, width, generator=generator)
    weight = torch.randn(60, generator=generator) if weighted else None
    expected = torch.zeros(9, width)
    for target, source, edge in zip(csr.row, csr.col, range(60), strict=True):
        expected[target] += x[source] if weight is None else weight[edge] * x[source]
    assert torch.equal(cpu.spmm(csr, x, weight), expected)
