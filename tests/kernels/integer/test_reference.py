"""The definitions against arithmetic on real numbers, and against the training kernels."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from dqrun.kernels import reference as floating
from dqrun.kernels.integer import CodeGrid, Codes, Epilogue, Weight, reference
from dqrun.quant import QuantSpec


def real(codes: Codes) -> Tensor:
    return (codes.unpack().double() - codes.grid.zero_point) * codes.grid.scale


def one(value: float) -> Tensor:
    return torch.tensor([value], dtype=torch.float64)


@given(st.integers(2, 8), st.floats(0.001, 10), st.floats(-10, -0.001))
def test_quantize_gives_the_codes_of_training(bits: int, high: float, low: float) -> None:
    x = torch.randn(50, 3, generator=torch.Generator().manual_seed(bits)) * 5
    spec = QuantSpec(bits)
    scales = spec.scales(torch.tensor(low), torch.tensor(high))
    ours = reference.quantize(x, CodeGrid(bits, scales.scale.item(), int(scales.zero_point) - spec.qmin))
    assert torch.equal(ours.unpack().int() + spec.qmin, spec.encode(x, scales))


def test_linear_is_the_product_of_real_numbers(make) -> None:
    x, weight = make.codes(5, 7, 8), make.weight(3, 7)
    y = reference.linear(x, weight, Epilogue(one(x.grid.scale * 0.01)))
    assert isinstance(y, Tensor)
    torch.testing.assert_close(y.double(), real(x) @ (weight.codes.double() * 0.01).T)


@pytest.mark.parametrize("self_weight", [None, 1.25])
def test_aggregate_is_the_sum_over_edges(make, random_graph, self_weight: float | None) -> None:
    csr, x = random_graph(6, 14), make.codes(6, 5, 4)
    y = reference.aggregate(csr, x, self_weight, Epilogue(one(x.grid.scale)))
    assert isinstance(y, Tensor)
    torch.testing.assert_close(y.double(), floating.spmm(csr, real(x)) + (self_weight or 0) * real(x))


@pytest.mark.parametrize("concat", [True, False])
def test_attention_is_gats(make, random_graph, concat: bool) -> None:
    csr, h = random_graph(6, 14), make.codes(6, 6, 8)
    a = torch.randn(2, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    y = reference.attention(csr, h, a[0], a[1], 0.2, concat, Epilogue(one(h.grid.scale)))
    rows = real(h).view(6, 2, 3)
    logit = (rows * a[0]).sum(-1)[csr.col] + (rows * a[1]).sum(-1)[csr.row]
    alpha = floating.edge_softmax(csr, torch.nn.functional.leaky_relu(logit, 0.2))
    expected = floating.spmm(csr, rows, alpha)
    assert isinstance(y, Tensor)
    torch.testing.assert_close(y.double(), expected.flatten(1) if concat else expected.mean(1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_segments(make, mode: str) -> None:
    x, ptr = make.codes(6, 3, 8), torch.tensor([0, 2, 2, 6])
    y = reference.segment_reduce(x, ptr, mode, Epilogue(one(x.grid.scale)))
    assert isinstance(y, Tensor)
    torch.testing.assert_close(y.double(), floating.segment_reduce(real(x), ptr, mode), rtol=1e-6, atol=1e-6)


def test_lookup(make) -> None:
    table = make.codes(5, 3, 4)
    assert torch.equal(reference.lookup(table, torch.tensor([4, 4, 0])).unpack(), table.unpack()[[4, 4, 0]])


def test_the_epilogue_line_by_line() -> None:
    residual = Codes.of(torch.tensor([[9]]), CodeGrid(8, 0.5, 3))
    epilogue = Epilogue(
        multiplier=one(0.5), row_scale=one(2.0), row_term=one(3.0), channel_term=one(4.0), bias=one(-1.0),
        pre_relu=True, gain=one(-3.0), offset=one(1.0), activation="elu",
        residual=residual, grid=CodeGrid(8, 0.25, 100),
    )  # fmt: skip
    v = math.exp(((5 * 2 + 3 * 4) * 0.5 - 1) * -3 + 1) - 1 + 6 * 0.5
    (code,) = reference.finish(one(5.0).view(1, 1), epilogue).unpack().flatten().tolist()
    assert code == round(v / 0.25) + 100


def test_requantisation_takes_half_to_even_and_clamps() -> None:
    acc = torch.tensor([[-1e9, -1.0, 0.5, 1.5, 2.5, 1e9]], dtype=torch.float64)
    codes = reference.finish(acc, Epilogue(one(1.0), grid=CodeGrid(4, 1.0, 2)))
    assert codes.unpack().tolist() == [[0, 1, 2, 4, 4, 15]]


def test_exp_is_exact_to_rounding() -> None:
    v = torch.cat([-torch.logspace(-20, 2.8, 4000, dtype=torch.float64), torch.tensor([0.0, -1e300])])
    exact = torch.tensor([math.exp(value) for value in v.tolist()], dtype=torch.float64)
    assert (reference.exp(v) - exact).abs().max() < 3e-16
    assert reference.exp(v[-2:]).tolist() == [1.0, reference.exp(one(-700.0)).item()]


def test_weights_of_few_bits_need_no_other_path(make) -> None:
    x, weight = make.codes(4, 6, 2), make.weight(5, 6, bits=2)
    assert weight.codes.abs().max() <= 1
    acc = (x.unpack().long() - x.grid.zero_point) @ weight.codes.long().T
    assert torch.equal(reference.linear(x, Weight(weight.codes), Epilogue(one(1.0))), acc.float())
