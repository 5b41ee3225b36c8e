"""The compiled integer kernels give the codes of the reference, bit for bit."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dqrun.graphs import CSR
from dqrun.kernels.integer import CodeGrid, Codes, Epilogue, Weight, cpu, reference

bits = st.integers(1, 8)
outputs = st.one_of(st.none(), bits)
channels = st.sampled_from([1, 2, 7, 16, 17, 33, 64, 65, 96, 129, 130, 257])
kinds = st.sampled_from(["plain", "normalised", "residual", "elu", "everything"])
hubs = st.sampled_from(["none", "source", "target", "both"])
modes = st.sampled_from(["sum", "mean", "max"])
few = settings(max_examples=60, deadline=None)


@few
@given(st.integers(0, 40), st.integers(1, 40), bits)
def test_quantize(make, num_rows: int, width: int, width_bits: int) -> None:
    x = torch.randn(num_rows, width, generator=torch.Generator().manual_seed(num_rows)) * 3
    grid = make.grid(width_bits)
    assert make.equal(cpu.quantize(x, grid), reference.quantize(x, grid))


def test_quantize_takes_halves_to_even_and_infinities_to_the_ends() -> None:
    x = torch.tensor([[-1e30, float("-inf"), -0.5, 0.5, 1.5, 2.5, float("inf")]])
    assert cpu.quantize(x, CodeGrid(4, 1.0, 2)).unpack().tolist() == [[0, 0, 2, 2, 4, 4, 15]]


@few
@given(st.integers(0, 15), channels, channels, bits, bits, outputs, kinds)
def test_linear(
    make, num_rows: int, inputs: int, out: int, x_bits: int, w_bits: int, to: int | None, kind: str
) -> None:
    x, weight = make.codes(num_rows, inputs, x_bits), make.weight(out, inputs, w_bits)
    epilogue = make.epilogue(kind, num_rows, out, to, 0.5 / (inputs * (1 << x_bits + w_bits - 2)) ** 0.5)
    assert make.equal(cpu.linear(x, weight, epilogue), reference.linear(x, weight, epilogue))


@pytest.mark.parametrize(("inputs", "outputs"), [(1, 1), (7, 3), (31, 16), (32, 64), (33, 130), (128, 128), (257, 65)])
def test_linear_of_single_bits(make, inputs: int, outputs: int) -> None:
    """Codes of 1 bit times signs: bits are counted, which each other weight forbids."""
    x, signs = make.codes(30, inputs, 1), make.weight(outputs, inputs, 1)
    assert signs.is_of_signs
    epilogue = make.epilogue("normalised", 30, outputs, None, 0.1)
    assert make.equal(cpu.linear(x, signs, epilogue), reference.linear(x, signs, epilogue))
    other = Weight(signs.codes.clone())
    other.codes[0, -1] = 0
    assert not other.is_of_signs
    assert make.equal(cpu.linear(x, other, epilogue), reference.linear(x, other, epilogue))


@pytest.mark.parametrize("x_bits", [1, 2])
@pytest.mark.parametrize("width", [5, 128, 129, 300, 1100])
def test_aggregate_where_narrow_sums_fill_up(make, x_bits: int, width: int) -> None:
    """Rows of one to several blocks of bytes; sums of the largest codes of more edges than fit 8 bits."""
    x = Codes.of(torch.full((40, width), (1 << x_bits) - 1), make.grid(x_bits))
    csr = CSR.from_edge_index(torch.stack([torch.arange(900) % 40, torch.arange(900) // 600 * 7]), 40)
    x.data[3] = 0
    epilogue = make.epilogue("normalised", 40, width, x_bits, 1e-3)
    assert make.equal(cpu.aggregate(csr, x, None, epilogue), reference.aggregate(csr, x, None, epilogue))


@pytest.mark.parametrize("inputs", [602, 1433])
def test_linear_with_wide_inputs_at_the_ends_of_their_range(make, inputs: int) -> None:
    x = Codes.of(torch.full((7, inputs), 255), make.grid(8))
    weight = make.weight(70, inputs)
    weight.codes[0] = 127
    epilogue = make.epilogue("plain", 7, 70, None, 1.0)
    assert make.equal(cpu.linear(x, weight, epilogue), reference.linear(x, weight, epilogue))


@few
@given(st.integers(0, 30), st.integers(0, 90), hubs, channels, bits, outputs, kinds, st.sampled_from([None, 1.0, 1.37]))
def test_aggregate(
    make, random_graph, num_nodes: int, edges: int, hub: str, width: int, x_bits: int, to: int | None, kind: str, own
) -> None:
    csr = random_graph(num_nodes, edges, hub) if num_nodes else CSR.from_edge_index(torch.zeros(2, 0).long(), 0)
    x = make.codes(num_nodes, width, x_bits)
    epilogue = make.epilogue(kind, num_nodes, width, to, 0.02)
    assert make.equal(cpu.aggregate(csr, x, own, epilogue), reference.aggregate(csr, x, own, epilogue))


@pytest.mark.usefixtures("num_threads")
@pytest.mark.parametrize("x_bits", [4, 8])
@pytest.mark.parametrize("edges", [0, 30, 120_000])
def test_aggregate_over_threads_with_a_hub(make, x_bits: int, edges: int) -> None:
    """Nine tenths of the edges (over 10^5) belong to one target: parts begin and end within it."""
    generator = torch.Generator().manual_seed(edges)
    index = torch.randint(0, 2000, (2, edges), generator=generator)
    index[1, : edges * 9 // 10] = 700
    csr, x = CSR.from_edge_index(index, 2000), make.codes(2000, 33, x_bits)
    x = Codes.of(torch.where(torch.arange(2000).unsqueeze(1) % 2 == 0, x.grid.top, x.unpack()), x.grid)
    for own in (None, 1.5):
        epilogue = make.epilogue("everything", 2000, 33, x_bits, 1e-4)
        assert make.equal(cpu.aggregate(csr, x, own, epilogue), reference.aggregate(csr, x, own, epilogue))


@few
@given(
    st.lists(st.integers(0, 40), max_size=6), channels, bits, outputs, kinds, st.sampled_from(["sum", "mean", "max"])
)
def test_segments(make, sizes: list[int], width: int, x_bits: int, to: int | None, kind: str, mode: str) -> None:
    ptr = torch.tensor([0, *sizes]).cumsum(0)
    x, epilogue = make.codes(sum(sizes), width, x_bits), make.epilogue(kind, len(sizes), width, to, 0.02)
    ours, theirs = cpu.segment_reduce(x, ptr, mode, epilogue), reference.segment_reduce(x, ptr, mode, epilogue)
    assert make.equal(ours, theirs)


@pytest.mark.usefixtures("num_threads")
@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_segments_over_threads(make, mode: str) -> None:
    ptr = torch.tensor([0, 0, 3000, 3001, 3001, 5000])
    x, epilogue = make.codes(5000, 20, 8), make.epilogue("everything", 5, 20, 8, 0.001)
    ours, theirs = cpu.segment_reduce(x, ptr, mode, epilogue), reference.segment_reduce(x, ptr, mode, epilogue)
    assert make.equal(ours, theirs)


@pytest.mark.parametrize("x_bits", [4, 8])
def test_codes_without_readable_bytes_behind_them(make, x_bits: int) -> None:
    """A tensor that ends where its memory ends, and one that is a part of a larger one."""
    csr = CSR.from_edge_index(torch.zeros(2, 3).long(), 5)
    x = make.codes(5, 7, x_bits)
    epilogue = make.epilogue("plain", 5, 7, 8, 0.1)
    expected = reference.aggregate(csr, x, 1.0, epilogue)
    inside = torch.cat([x.data, x.data])[5:]
    for data in (x.data.clone(), inside):
        assert make.equal(cpu.aggregate(csr, Codes(data, 7, x.grid), 1.0, epilogue), expected)


@pytest.mark.parametrize("activation", ["none", "relu"])
@pytest.mark.parametrize("multiplier", [1.0, -1.0, 0.5, 1e12, -1e12, 1e300])
def test_ties_and_values_beyond_int32(make, multiplier: float, activation: str) -> None:
    x, weight = make.codes(40, 17, 8), make.weight(17, 17)
    one = torch.full((1,), multiplier, dtype=torch.float64)
    epilogue = Epilogue(one, activation=activation, grid=CodeGrid(8, 1.0, 101))
    assert make.equal(cpu.linear(x, weight, epilogue), reference.linear(x, weight, epilogue))
