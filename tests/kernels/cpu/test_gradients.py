"""Values and gradients against the reference, for gradients as autograd hands them over: expanded, strided."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from versions import cpu

from dqrun.kernels import reference

GRID = torch.tensor(0.5), torch.tensor(1, dtype=torch.int32), -8, 7
LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "dense": lambda y: (y * torch.arange(y.numel(), dtype=y.dtype).view_as(y).sin()).sum(),
    "expanded": lambda y: y.sum(),
    "transposed": lambda y: (y.t() @ torch.ones(y.size(0), 1, dtype=y.dtype)).sum() + y.t().contiguous().cos().sum(),
    "every other column": lambda y: y[:, ::2].sum(),
}


def results(function: Callable[..., Tensor], layout: str, *inputs: Tensor) -> list[Tensor]:
    leaves = [x.clone().requires_grad_() for x in inputs]
    y = function(*leaves)
    return [y.detach(), *torch.autograd.grad(LAYOUTS[layout](y), leaves)]


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def check(operation: Callable[..., Callable[..., Tensor]], layout: str, *inputs: Tensor) -> None:
    """operation(version): the function of that version."""
    ours, theirs = results(operation(cpu), layout, *inputs), results(operation(reference), layout, *inputs)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_operation_takes_every_gradient(random_graph, layout: str) -> None:
    csr, protected = random_graph(40, 200, "both"), torch.arange(40) % 5 == 0
    x, weight, logits = normal(40, 6), normal(200, seed=1), normal(200, 4, seed=2)
    ptr, matrix = torch.tensor([0, 7, 7, 40]), normal(8, 6, seed=3)
    check(lambda k: lambda a: k.fake_quantize(a, *GRID, protected, "clipped", True), layout, x)
    check(lambda k: lambda a: k.fake_quantize(a, *GRID, protected, "ste"), layout, x)
    check(lambda k: lambda a: k.dropout(a, 0.3, 5, 6), layout, x)
    check(lambda k: lambda a, w: k.linear(a, w, None, True), layout, x, matrix)
    check(lambda k: lambda a, w: k.spmm(csr, a, w), layout, x, weight)
    check(lambda k: lambda a, s: k.spmm_self(csr, a, s), layout, x, torch.tensor([1.5]))
    check(lambda k: lambda a, w: k.spmm_quantized(csr, a, w, *GRID, protected, "clipped"), layout, x, weight)
    check(lambda k: lambda a, b: k.edge_add(csr, a, b), layout, x, normal(40, 6, seed=4))
    check(lambda k: lambda a: k.edge_softmax(csr, a), layout, logits)
    for mode in ("sum", "mean", "max"):
        check(lambda k, mode=mode: lambda a: k.segment_reduce(a, ptr, mode), layout, x)


@settings(max_examples=30)
@given(st.integers(1, 20), st.integers(0, 80), st.sampled_from(["none", "both"]), st.integers(1, 9))
def test_edge_add_and_spmm_self(random_graph, num_nodes: int, num_edges: int, hub: str, channels: int) -> None:
    csr = random_graph(num_nodes, num_edges, hub)
    x, other = normal(num_nodes, channels), normal(num_nodes, channels, seed=1)
    check(lambda k: lambda a, b: k.edge_add(csr, a, b), "dense", x, other)
    check(lambda k: lambda a, s: k.spmm_self(csr, a, s), "dense", x, torch.tensor([0.7]))


@settings(max_examples=40)
@given(
    st.integers(0, 9), st.sampled_from([1, 31, 33, 64]), st.sampled_from(["ste", "clipped", "clipped_ends"]),
    st.booleans(), st.integers(0, 99),
)  # fmt: skip
def test_a_relu_inside_the_rounding_is_one_after_it(
    rows: int, width: int, estimator: str, kept: bool, seed: int
) -> None:
    x, protected = normal(rows, width, seed=seed) * 4, torch.arange(rows) % 2 == 0 if kept else None
    outputs = []
    for version, inside in ((cpu, True), (cpu, False), (reference, True)):
        leaf = x.clone().requires_grad_()
        y = version.fake_quantize(leaf, *GRID, protected, estimator, inside)
        y = y if inside else y.relu()
        outputs.append((y.detach(), *torch.autograd.grad((y * normal(rows, width, seed=7)).sum(), leaf)))
    for other in outputs[1:]:
        assert all(torch.equal(a, b) for a, b in zip(outputs[0], other, strict=True))
