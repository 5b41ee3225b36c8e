"""Sparse rows: every operation gives what it gives for the same numbers in a tensor."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dqrun import kernels
from dqrun.composition.compose import load_configs
from dqrun.graphs import CSR, Graph, SparseRows, dense, sparse_if_few
from dqrun.kernels import sparse
from dqrun.nn.build import build_model

GRID = torch.tensor(0.4), torch.tensor(1, dtype=torch.int32), -4, 3
NODES, WIDTH = 14, 9
edges, seeds, shares = st.integers(0, 50), st.integers(0, 99), st.sampled_from([0.0, 0.15, 1.0])


@pytest.fixture(params=["auto", "reference"], autouse=True)
def version(request: pytest.FixtureRequest) -> Iterator[None]:
    with kernels.use(request.param):
        yield


def matrix(share: float, seed: int, rows: int = NODES) -> Tensor:
    """float32 [rows, WIDTH], about `share` of it not zero."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, WIDTH, generator=generator)
    return x * (torch.rand(x.shape, generator=generator) < share)


def some_rows(seed: int, kept: bool) -> Tensor | None:
    return torch.rand(NODES, generator=torch.Generator().manual_seed(seed)) < 0.4 if kept else None


def check(operation: Callable[..., Tensor | SparseRows], x: Tensor, *others: Tensor) -> None:
    """Results and gradients, of x where it has values."""
    found = []
    for rows in (SparseRows.of(x), x.clone()):
        values = rows.values if isinstance(rows, SparseRows) else rows
        leaves = [values.requires_grad_(), *(other.clone().requires_grad_() for other in others)]
        y = dense(operation(rows, *leaves[1:]))
        direction = torch.randn(y.shape, generator=torch.Generator().manual_seed(3))
        gradients = list(torch.autograd.grad((y * direction).sum(), leaves))
        gradients[0] = gradients[0] if isinstance(rows, SparseRows) else gradients[0][x != 0]
        found.append([y.detach(), *gradients])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_few_values_are_kept_sparse_and_many_are_not() -> None:
    x = torch.zeros(32, 32)
    x[::2, 3], x[::2, 7] = 1.5, -2.0
    few = sparse_if_few(x)
    assert isinstance(few, SparseRows) and torch.equal(dense(few), x) and few.shape == x.shape and few.numel() == 1024
    x[1, 1] = 1.0
    assert sparse_if_few(x) is x
    category = torch.zeros(5, dtype=torch.int64)
    assert sparse_if_few(category) is category


@settings(max_examples=25)
@given(shares, seeds, st.booleans(), st.sampled_from(["ste", "clipped", "clipped_ends"]), st.booleans())
def test_fake_quantize(share: float, seed: int, kept: bool, estimator: str, relu: bool) -> None:
    protected = some_rows(seed, kept)
    check(lambda x: kernels.fake_quantize(x, *GRID, protected, estimator, relu), matrix(share, seed))


def test_noise_and_dropout_take_a_share_of_the_values() -> None:
    x = SparseRows.of(torch.eye(4000))
    noise = kernels.Noise(0.3, 1, 2)
    rounded = kernels.fake_quantize(x, torch.tensor(0.7), torch.tensor(0, dtype=torch.int32), -8, 7, noise=noise)
    assert (rounded.values != 1).float().mean().item() == pytest.approx(0.3, abs=0.03)
    dropped = kernels.dropout(x, 0.2, training=True)
    assert (dropped.values == 0).float().mean().item() == pytest.approx(0.2, abs=0.03)
    assert kernels.dropout(x, 0.2, training=False) is x


@settings(max_examples=40)
@given(shares, seeds, st.sampled_from([0.0, 0.02, 0.1, 0.3]), st.booleans(), st.booleans())
def test_ranges_count_the_zeros(share: float, seed: int, tail: float, weighted: bool, kept: bool) -> None:
    x, protected = matrix(share, seed), some_rows(seed, kept)
    weight = torch.randint(0, 4, (NODES,), generator=torch.Generator().manual_seed(seed)) if weighted else None
    ours = kernels.tail_range(SparseRows.of(x), tail, weight, protected)
    assert [end.item() for end in ours] == [end.item() for end in kernels.tail_range(x, tail, weight, protected)]


@settings(max_examples=25)
@given(shares, seeds, st.booleans(), st.booleans())
def test_linear(share: float, seed: int, with_bias: bool, relu: bool) -> None:
    others = [torch.randn(5, WIDTH), *([torch.randn(5)] if with_bias else [])]
    check(lambda x, *rest: kernels.linear(x, *rest, relu=relu), matrix(share, seed), *others)


@settings(max_examples=25)
@given(shares, seeds, edges, st.booleans(), st.sampled_from(["none", "both"]))
def test_sums_over_edges(random_graph, share: float, seed: int, num_edges: int, kept: bool, hub: str) -> None:
    csr, protected, x = random_graph(NODES, num_edges, hub, seed), some_rows(seed, kept), matrix(share, seed)
    eps = torch.tensor([0.7])
    check(lambda x: kernels.spmm(csr, x), x)
    check(lambda x, s: kernels.spmm_self(csr, x, s), x, eps)
    check(lambda x: kernels.spmm_quantized(csr, x, None, *GRID, protected, "clipped"), x)
    check(lambda x, s: kernels.add_self(csr, kernels.spmm_quantized(csr, x, None, *GRID), x, s), x, eps)
    ranges = (kernels.message_range(csr, rows, None, 0.05, protected) for rows in (SparseRows.of(x), x))
    assert len({tuple(end.item() for end in ends) for ends in ranges}) == 1


def test_neighbours_are_worked_out_once_per_graph(random_graph) -> None:
    x = SparseRows.of(matrix(0.2, 0))
    first, second = random_graph(NODES, 30, seed=0), random_graph(NODES, 30, seed=1)
    a, b = kernels.spmm(first, x), kernels.spmm(second, x)
    assert kernels.spmm(first, x.with_values(2 * x.values)).where is a.where and b.where is not a.where


def test_sums_of_many_terms_are_made_of_a_tensor() -> None:
    x = SparseRows.of(torch.eye(64))
    few, many = (CSR.from_edge_index(torch.arange(2 * n).view(2, n) % 64, 64) for n in (512, 513))
    assert kernels.summable(few, x) is x
    made = kernels.summable(many, x)
    assert isinstance(made, Tensor) and torch.equal(made, torch.eye(64))
    assert kernels.summable(many, torch.eye(2)).shape == (2, 2)


def whole_graph(csr: CSR) -> Graph:
    n = csr.num_nodes
    generator = torch.Generator().manual_seed(1)
    protected = torch.rand(1, n, generator=generator) < 0.3
    return Graph(csr, torch.tensor([0, n]), torch.zeros(n, dtype=torch.int64), torch.rand(n), protected)


@pytest.mark.parametrize("plan", ["paper", "integer"])
@pytest.mark.parametrize("method", ["fp32", "dq", "naive", "dq method.learned_scale=true"])
@pytest.mark.parametrize("model", ["gcn", "gat", "gin", "sage", "gatv2"])
def test_a_network_trains_on_them_as_on_a_tensor(
    random_graph, model: str, method: str, plan: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sparse, "FEW_TERMS", 100)
    quant, *rest = ["quant=fp32"] if method == "fp32" else f"quant=int8 method={method}".split()
    dropouts = ["model.dropout=0", "model.input_dropout=0", "model.attention_dropout=0"]
    config = load_configs(["dataset=cora", f"model={model}", f"plan={plan}", quant, *rest, *dropouts])[0]
    graph, x = whole_graph(random_graph(NODES, 40, "both")), matrix(0.15, 5)
    found = []
    for rows in (SparseRows.of(x), x):
        torch.manual_seed(0)
        network = build_model(config, WIDTH, 0, 3).train()
        for _ in range(2):  # a learned step begins in the first
            network.zero_grad()
            logits = network(rows, graph)
            logits.square().sum().backward()
        exact = network.eval()(rows, replace(graph, protection_masks=None))
        found.append([logits.detach(), exact.detach(), *(p.grad for p in network.parameters() if p.grad is not None)])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)
