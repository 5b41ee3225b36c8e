"""The compiled ranges are exactly the reference's, which sorts."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from versions import cpu

from dqrun.config.method import PERCENTILES
from dqrun.kernels import reference

TAILS = (0.0, 0.001, 0.01, 0.2, 0.499)


def distributions() -> dict[str, Tensor]:
    """Tensors of 200 x 64 elements: more than the sample, so that thresholds are guessed."""
    generator = torch.Generator().manual_seed(0)
    normal = torch.randn(200, 64, generator=generator)
    single = torch.zeros(200, 64)
    single[7, 7] = 1.0
    infinite = normal.clone()
    infinite[:30], infinite[30:40] = torch.inf, -torch.inf
    return {
        "normal": normal,
        "heavy-tailed": torch.randn(200, 64, generator=generator) / torch.rand(200, 64, generator=generator) ** 3,
        "constant": torch.full((200, 64), -2.5),
        "tiny": normal * 1e-40,  # subnormal
        "huge": normal * 1e37,
        "mostly zero": torch.relu(normal - 1.5),
        "one value": single,
        "few values": normal.round(),
        "column": torch.where(torch.arange(64) == 0, normal * 1000, normal),
        "sorted": normal.flatten().sort().values.view(200, 64),
        "infinite": infinite,
    }


def row_weights() -> dict[str, Tensor | None]:
    generator = torch.Generator().manual_seed(1)
    hub = torch.zeros(200, dtype=torch.int64)
    hub[3], hub[4:40] = 10_000, 1
    return {
        "none": None,
        "degrees": torch.randint(0, 9, (200,), generator=generator),
        "power law": (1 / torch.rand(200, generator=generator)).long(),
        "hub": hub,
        "zeros": torch.zeros(200, dtype=torch.int64),
    }


@pytest.mark.parametrize("weights", row_weights())
@pytest.mark.parametrize("distribution", distributions())
def test_is_exact_on_large_tensors(distribution: str, weights: str) -> None:
    x, row_weight = distributions()[distribution], row_weights()[weights]
    protected = torch.arange(200) % 5 == 0
    for tail in TAILS:
        kept = protected if tail == 0.01 else None
        assert cpu.tail_range(x, tail, row_weight, kept) == reference.tail_range(x, tail, row_weight, kept), tail


@given(
    st.integers(0, 6), st.sampled_from([(), (1,), (5,), (2, 3)]), st.floats(0, 0.499),
    st.booleans(), st.booleans(), st.sampled_from(PERCENTILES), st.integers(0, 999),
)  # fmt: skip
def test_is_exact_on_small_tensors(
    rows: int, shape: tuple[int, ...], tail: float, weighted: bool, kept: bool, percentile: str, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, *shape, generator=generator)
    row_weight = torch.randint(0, 4, (rows,), generator=generator) if weighted else None
    rest = tail, row_weight, torch.rand(rows, generator=generator) < 0.5 if kept else None, None, percentile
    assert cpu.tail_range(x, *rest) == reference.tail_range(x, *rest)


@settings(max_examples=25)
@given(st.integers(1, 9), st.integers(0, 30), st.booleans(), st.sampled_from([(5,), (2, 3)]), st.booleans())
def test_message_range_of_small_graphs(
    random_graph, num_nodes: int, num_edges: int, weighted: bool, shape: tuple[int, ...], kept: bool
) -> None:
    generator = torch.Generator().manual_seed(num_edges)
    csr = random_graph(num_nodes, num_edges, "both", num_nodes)
    x = torch.randn(num_nodes, *shape, generator=generator)
    weight = torch.randn(num_edges, *shape[:-1], generator=generator) if weighted else None
    protected = torch.rand(num_nodes, generator=generator) < 0.5 if kept else None
    for rest in product(TAILS, [protected], [None], PERCENTILES):
        assert cpu.message_range(csr, x, weight, *rest) == reference.message_range(csr, x, weight, *rest)


@pytest.mark.usefixtures("num_threads")
@pytest.mark.parametrize("shape", [(16,), (4, 4), (1,)])
def test_message_range_of_a_large_graph_with_hubs(random_graph, shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    csr = random_graph(2000, 9000, "both")
    x, weight = torch.randn(2000, *shape, generator=generator), torch.randn(9000, *shape[:-1], generator=generator)
    protected = torch.rand(2000, generator=generator) < 0.1
    for rest in product(TAILS, [protected], [None], PERCENTILES):
        assert cpu.message_range(csr, x, weight, *rest) == reference.message_range(csr, x, weight, *rest)


def test_has_no_gradient() -> None:
    x = torch.randn(4, 3, requires_grad=True)
    assert not any(end.requires_grad for version in (cpu, reference) for end in version.tail_range(x, 0.1))
