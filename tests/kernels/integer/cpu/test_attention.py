"""The compiled attention against the definition in float64, to the rounding of float32 sums."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dqrun.graphs import CSR
from dqrun.kernels.integer import Codes, cpu, reference

hubs = st.sampled_from(["none", "both"])
shapes = st.sampled_from([(1, 1), (1, 40), (2, 3), (8, 16), (4, 8), (3, 5), (1, 130), (17, 3), (20, 20)])


def check(make, csr: CSR, h: Codes, a: Tensor, concat: bool, to: int | None = None) -> None:
    heads, channels = a.shape[1:]
    width = heads * channels if concat else channels
    epilogue = make.epilogue("everything" if to else "plain", h.num_rows, width, to, 0.01)
    ours = cpu.attention(csr, h, a[0], a[1], 0.2, concat, epilogue)
    exact = reference.attention(csr, h, a[0].double(), a[1].double(), 0.2, concat, epilogue)
    if isinstance(ours, Codes) and isinstance(exact, Codes):
        apart = (ours.unpack().int() - exact.unpack().int()).abs()
        assert apart.max() <= 1 and apart.sum() <= 1 + apart.numel() // 2000
    else:
        torch.testing.assert_close(ours, exact, rtol=0, atol=0.01 * 2e-4 * h.grid.top)


def vectors(heads: int, channels: int) -> Tensor:
    return torch.randn(2, heads, channels, generator=torch.Generator().manual_seed(heads))


@settings(max_examples=50, deadline=None)
@given(
    st.integers(1, 30), st.integers(0, 200), st.sampled_from(["none", "both"]), shapes, st.integers(2, 8), st.booleans()
)
def test_attention(make, random_graph, num_nodes: int, edges: int, hub: str, shape, bits: int, concat: bool) -> None:
    h = make.codes(num_nodes, shape[0] * shape[1], bits)
    check(make, random_graph(num_nodes, edges, hub), h, vectors(*shape), concat)


@pytest.mark.parametrize("bits", [3, 8])
@pytest.mark.parametrize("concat", [True, False])
def test_to_codes(make, random_graph, bits: int, concat: bool) -> None:
    check(make, random_graph(300, 2000), make.codes(300, 24, bits), vectors(4, 6), concat, bits)


def test_no_nodes(make) -> None:
    csr = CSR.from_edge_index(torch.zeros(2, 0).long(), 0)
    y = cpu.attention(csr, make.codes(0, 6, 8), *vectors(2, 3), 0.2, True, make.epilogue("plain", 0, 6, 8, 1.0))
    assert isinstance(y, Codes) and y.num_rows == 0


@pytest.mark.usefixtures("num_threads")
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("heads", [2, 18])
def test_a_hub_over_threads(make, bits: int, heads: int) -> None:
    index = torch.randint(0, 2000, (2, 100_000), generator=torch.Generator().manual_seed(0))
    index[1, :90_000] = 700
    check(make, CSR.from_edge_index(index, 2000), make.codes(2000, heads * 3, bits), vectors(heads, 3), True)


def test_logits_far_apart_leave_the_largest(make) -> None:
    h = Codes.of(torch.tensor([[0], [255], [254]]), make.grid(8))
    csr = CSR.from_edge_index(torch.tensor([[0, 1, 2], [0, 0, 0]]), 3)
    a = torch.tensor([[[1e4]], [[0.0]]])
    y = cpu.attention(csr, h, a[0], a[1], 0.2, True, make.epilogue("plain", 3, 1, None, 1.0))
    assert isinstance(y, Tensor) and y.flatten().tolist() == [255 - h.grid.zero_point, 0, 0]
