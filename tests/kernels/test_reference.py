"""The definitions against independent ones: torch's fake quantiser, PyG's softmax, sorting, finite differences."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.autograd import gradcheck
from torch_geometric.utils import softmax

from dqrun.kernels import reference

ZERO_POINT = torch.tensor(1, dtype=torch.int32)


def normal(*shape: int, seed: int = 0) -> Tensor:
    """Float64, so that finite differences mean something."""
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).requires_grad_()


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("shape", [(6, 3), (6, 2, 2)])
@pytest.mark.parametrize("num_edges", [0, 14])
def test_spmm_gradients(random_graph, weighted: bool, shape: tuple[int, ...], num_edges: int) -> None:
    csr = random_graph(6, num_edges)
    inputs = (normal(*shape), normal(num_edges, *shape[1:-1], seed=1)) if weighted else (normal(*shape),)
    assert gradcheck(lambda *a: reference.spmm(csr, *a), inputs)


def test_spmm_is_the_dense_product(random_graph) -> None:
    csr, x, weight = random_graph(7, 20), normal(7, 3), normal(20)
    dense = torch.zeros(7, 7, dtype=torch.float64).index_put_((csr.row, csr.col), weight.detach(), accumulate=True)
    torch.testing.assert_close(reference.spmm(csr, x, weight), dense @ x)


def test_a_sum_that_takes_its_messages_in_parts_has_the_same_bits(
    random_graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    csr, x, weight = random_graph(7, 20), normal(7, 3), normal(20)
    whole, given = reference.spmm(csr, x, weight), []
    select = Tensor.index_select
    monkeypatch.setattr(Tensor, "index_select", lambda x, dim, index: given.append(len(index)) or select(x, dim, index))
    monkeypatch.setattr(reference, "AT_ONCE", 18)
    assert torch.equal(reference.spmm(csr, x, weight), whole) and given == [6, 6, 6, 2]


def test_edge_softmax_is_pygs(random_graph) -> None:
    csr, logits = random_graph(9, 30, "target"), normal(30, 2)
    torch.testing.assert_close(reference.edge_softmax(csr, logits), softmax(logits, csr.row, num_nodes=9))
    assert gradcheck(lambda a: reference.edge_softmax(csr, a), (logits,))


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_segment_reduce(mode: str) -> None:
    x, ptr = normal(6, 2), torch.tensor([0, 2, 2, 6])
    assert gradcheck(lambda a: reference.segment_reduce(a, ptr, mode), (x,))
    expected = [getattr(x[a:b], mode)(0) for a, b in ((0, 2), (2, 6))]
    expected = [e.values if mode == "max" else e for e in expected]
    torch.testing.assert_close(
        reference.segment_reduce(x, ptr, mode), torch.stack([expected[0], torch.zeros_like(expected[0]), expected[1]])
    )


def test_segment_max_sends_the_gradient_to_the_first_of_equals() -> None:
    x = torch.tensor([[1.0], [3.0], [3.0]], requires_grad=True)
    reference.segment_reduce(x, torch.tensor([0, 3]), "max").sum().backward()
    assert x.grad is not None and x.grad.flatten().tolist() == [0, 1, 0]


@pytest.mark.parametrize(("estimator", "passing"), [("clipped", range(-4, 4)), ("clipped_ends", range(-3, 3))])
def test_gradients_of_clipping_estimators_by_code(estimator: str, passing: range) -> None:
    x = torch.arange(-8.0, 8.0, requires_grad=True)  # scale 1: the unclamped code is x + 1
    reference.fake_quantize(x, torch.tensor(1.0), ZERO_POINT, -4, 3, None, estimator).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [float(code + 1 in passing) for code in range(-8, 8)]


def test_kept_rows_are_exact_with_identity_gradient() -> None:
    x, protected = normal(4, 2), torch.tensor([True, False, True, False])
    y = reference.fake_quantize(x * 100, torch.tensor(0.1), ZERO_POINT, -4, 3, protected, "clipped")
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert torch.equal(y[protected], x[protected] * 100)
    assert (gradient[protected] == 100).all() and (gradient[~protected] == 0).all()


def test_spmm_quantized_is_gather_multiply_round_add(random_graph) -> None:
    csr, x, weight = random_graph(7, 20), normal(7, 3), normal(20)
    protected = torch.arange(7) % 3 == 0
    scale = torch.tensor(0.25)
    out = reference.spmm_quantized(csr, x, weight, scale, ZERO_POINT, -4, 3, protected, "ste")
    expected = torch.zeros(7, 3, dtype=torch.float64)
    for e in range(20):
        message = weight[e] * x[csr.col[e]]
        if not protected[csr.col[e]]:
            message = ((message / scale).round().clamp(-5, 2)) * scale
        expected[csr.row[e]] += message
    torch.testing.assert_close(out, expected)


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(-3, 3), st.integers(0, 4), st.booleans()), max_size=12), st.floats(0, 0.499))
def test_tail_range_of_an_expanded_multiset(rows: list[tuple[int, int, bool]], tail: float) -> None:
    x = torch.tensor([[float(value), value / 2] for value, _, _ in rows]).view(-1, 2)
    weight = torch.tensor([count for _, count, _ in rows], dtype=torch.int64)
    protected = torch.tensor([kept for _, _, kept in rows], dtype=torch.bool)
    for used, kept in ((weight, protected), (weight, None), (None, protected), (None, None)):
        counts = torch.ones_like(weight) if used is None else used
        counts = counts if kept is None else counts * ~kept
        multiset = x.repeat_interleave(counts, 0).flatten().sort().values
        k = int(tail * multiset.numel())
        expected = (multiset[k], multiset[-1 - k]) if multiset.numel() else (torch.inf, -torch.inf)
        assert reference.tail_range(x, tail, used, kept) == expected
        by_rank = multiset.tolist() and (
            multiset[max(1, k) - 1],
            multiset[max(1, int((1 - tail) * multiset.numel())) - 1],
        )
        assert reference.tail_range(x, tail, used, kept, None, "kthvalue") == (by_rank or expected)


@pytest.mark.parametrize(
    ("n", "tail", "symmetric", "kthvalue"),
    [
        (100, 0.01, (2, 99), (1, 99)),
        (256, 0.01, (3, 254), (2, 253)),
        (50, 0.01, (1, 50), (1, 49)),
        (1, 0.01, (1, 1), (1, 1)),
    ],
)
def test_percentiles_by_rank(n: int, tail: float, symmetric: tuple[int, int], kthvalue: tuple[int, int]) -> None:
    """Ranks of the released Degree-Quant code, which calls `torch.kthvalue`, beside the default's."""
    x, ones = torch.arange(1.0, n + 1).view(-1, 1), torch.ones(n, dtype=torch.int64)
    for weight in (None, ones):
        assert reference.tail_range(x, tail, weight) == symmetric
        assert reference.tail_range(x, tail, weight, percentile="kthvalue") == kthvalue
