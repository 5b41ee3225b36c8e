"""Functions of each element, and samples: of tensors, sparse rows and messages."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dqrun import kernels
from dqrun.graphs import CSR, SparseRows, dense

N, F = 6, 4


@pytest.fixture
def x() -> Tensor:
    values = torch.randn(N, F, generator=torch.Generator().manual_seed(0))
    return torch.where(values > 0.3, values, 0.0)


@pytest.fixture
def csr() -> CSR:
    return CSR.from_edge_index(torch.tensor([[0, 1, 2, 2, 5, 0], [1, 1, 0, 3, 3, 4]]), N)


PROTECTED = torch.tensor([True, False, False, True, False, False])


def doubled(x: Tensor) -> Tensor:
    return 2 * x


def shifted(x: Tensor) -> Tensor:
    return x + 1


def test_protected_rows_stay(x: Tensor) -> None:
    expected = torch.where(PROTECTED.unsqueeze(1), x, 2 * x)
    assert torch.equal(kernels.mapped(x, doubled, PROTECTED), expected)
    sparse = kernels.mapped(SparseRows.of(x), doubled, PROTECTED)
    assert isinstance(sparse, SparseRows) and torch.equal(dense(sparse), expected)


def test_a_function_that_moves_zero_makes_a_tensor(x: Tensor) -> None:
    moved = kernels.mapped(SparseRows.of(x), shifted, PROTECTED, keeps_zero=False)
    assert isinstance(moved, Tensor)
    assert torch.equal(moved, torch.where(PROTECTED.unsqueeze(1), x, x + 1))


@pytest.mark.parametrize("heads", [None, 2])
def test_messages_are_mapped_before_their_sum(x: Tensor, csr: CSR, heads: int | None) -> None:
    h = x if heads is None else x.view(N, heads, -1)
    weight = torch.rand(csr.num_edges, *(() if heads is None else (heads,)), generator=torch.Generator().manual_seed(1))
    expected = torch.zeros_like(h)
    for e, (i, j) in enumerate(zip(csr.row, csr.col, strict=True)):
        message = weight[e].unsqueeze(-1) * h[j]
        expected[i] += message if PROTECTED[j] else message + 1
    torch.testing.assert_close(kernels.mapped_messages(csr, h, weight, shifted, PROTECTED), expected)
    torch.testing.assert_close(kernels.mapped_messages(csr, h, weight, lambda m: m), kernels.spmm(csr, h, weight))


def test_a_sample_holds_what_counts(x: Tensor, csr: CSR) -> None:
    assert torch.equal(kernels.sample(x, 1000), x.flatten())
    assert torch.equal(kernels.sample(x, 1000, None, PROTECTED), x[~PROTECTED].flatten())
    counts = torch.arange(N)
    assert torch.equal(kernels.sample(x, 1000, counts), x.repeat_interleave(counts, 0).flatten())
    assert kernels.sample(x, 5).numel() <= 5
    values = kernels.sample(SparseRows.of(x), 1000, counts, PROTECTED)
    expected = x.repeat_interleave(counts.masked_fill(PROTECTED, 0), 0)
    assert torch.equal(values.sort().values, expected[expected != 0].sort().values)
    weight = torch.rand(csr.num_edges, generator=torch.Generator().manual_seed(1))
    messages = (weight.unsqueeze(1) * x[csr.col])[~PROTECTED[csr.col]]
    assert torch.equal(kernels.sample_messages(csr, x, weight, 1000, PROTECTED), messages.flatten())


def test_a_tensor_of_sums_takes_sparse_rows_of_the_nodes(x: Tensor, csr: CSR) -> None:
    eps = torch.tensor([1.5])
    sums = kernels.spmm(csr, x)
    torch.testing.assert_close(kernels.add_self(csr, sums, SparseRows.of(x), eps), sums + 1.5 * x)
