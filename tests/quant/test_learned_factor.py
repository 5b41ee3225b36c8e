"""Learned factors of the range of a batch, with zero on the grid and off it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dqrun.graphs import SparseRows
from dqrun.methods.qlr import Qlr, QlrConfig
from dqrun.quant import Point, Quantizer, QuantSpec, RangeObserver, ScaleProvider
from dqrun.quant.learned_factor import LearnedFactor, offset_scales
from dqrun.quant.offset_rounding import OffsetRounding, rounded_skewness


@pytest.fixture
def x() -> Tensor:
    return torch.cat([torch.randn(300, 2, generator=torch.Generator().manual_seed(0)) + 0.4, torch.full((1, 2), 8.0)])


def quantizer(zero_point: str, bits: int = 2, symmetric: bool = False, **options: object) -> Quantizer:
    config = QlrConfig("qlr", "qlr", "clipped", learned_scale=True, zero_point=zero_point, **options)
    config.observer.update = "last_batch"
    made = Qlr(config).quantizer(Point("x"), QuantSpec(bits, symmetric=symmetric, narrow=symmetric))
    assert made is not None
    return made


def factor(q: Quantizer) -> LearnedFactor:
    scales: ScaleProvider = q.scales
    assert isinstance(scales, LearnedFactor)
    return scales


@pytest.mark.parametrize("zero_point", ["integer", "real", "eight_bits"])
def test_it_begins_with_the_least_error_and_then_follows_each_batch(zero_point: str, x: Tensor) -> None:
    q = quantizer(zero_point)
    error = (q(x) - x).abs().mean()
    learned = factor(q)
    first = learned.factor.item()
    assert 0 < first < 1
    for other in (first - 0.02, first + 0.02):
        with torch.no_grad():
            learned.factor.fill_(other)
        assert (q(x) - x).abs().mean() >= error
    scale = q.fixed_scales().scale
    q(x[:-1])
    assert q.fixed_scales().scale < scale


@pytest.mark.parametrize("zero_point", ["integer", "real"])
def test_its_gradient_is_that_of_the_ends_and_of_rounding(zero_point: str, x: Tensor) -> None:
    q = quantizer(zero_point, bits=3)
    y, learned = q(x), factor(q)
    grad = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    y.backward(grad)
    scale, z = (value.detach() for value in q.fixed_scales()[:2])
    z = z - q.spec.qmin if zero_point == "integer" else z
    step = (learned.start.high - learned.start.low) / 7
    place = x / scale + z
    code = place.round().clamp(0, 7)
    inside = (place > 0) & (place < 7)
    slope = step * torch.where(inside, code - place, code - z)
    assert learned.factor.grad is not None
    torch.testing.assert_close(learned.factor.grad, (grad * slope).sum(), rtol=1e-4, atol=1e-3)
    if zero_point == "real":
        assert slope[x > 7].unique().item() == pytest.approx(8.0), "what lies above moves with the largest value"
        assert slope[~inside & (x < 0)].unique().item() == pytest.approx(x.min().item(), rel=1e-4)


def test_four_of_256_codes(x: Tensor) -> None:
    q = quantizer("eight_bits")
    values = q(x).unique()
    scale, zero_point, _ = q.fixed_scales()
    codes = values / scale * 85 + zero_point * 85
    torch.testing.assert_close(codes, torch.tensor([0.0, 85.0, 170.0, 255.0]), atol=1e-3, rtol=0)
    torch.testing.assert_close((zero_point * 85).round(), zero_point * 85)
    assert not bool((values == 0).any()), "zero is not on the grid"


def test_skewness_moves_what_is_rounded_up(x: Tensor) -> None:
    plain, skewed = quantizer("eight_bits"), quantizer("eight_bits", skewed=True)
    assert not torch.equal(plain(x), skewed(x))
    assert isinstance(skewed.rounding, OffsetRounding)
    assert skewed.rounding.skewness == rounded_skewness(x.flatten()) == 1
    assert bool((skewed(x) >= plain(x)).all())
    before = skewed.rounding.skewness.clone()
    skewed.eval()(torch.randn(50, 2))
    assert torch.equal(skewed.rounding.skewness, before), "evaluation keeps that of training"
    assert rounded_skewness(torch.ones(5)) == 0


def test_sparse_rows_stay_sparse_where_zero_is_on_the_grid() -> None:
    x = torch.where(torch.rand(20, 5, generator=torch.Generator().manual_seed(0)) > 0.7, 1.0, 0.0)
    for moved, kind in ((x, SparseRows), (torch.where(x == 0, 0.0, torch.linspace(-1.3, 2, 5)), Tensor)):
        rows = quantizer("real", bits=2)
        y = rows(SparseRows.of(moved))
        assert isinstance(y, kind)
        again = quantizer("real", bits=2)
        factor(again).load_state_dict(factor(rows).state_dict())
        torch.testing.assert_close(y.to_dense() if isinstance(y, SparseRows) else y, again.eval()(moved))


def test_a_symmetric_grid_holds_zero(x: Tensor) -> None:
    q = quantizer("real", symmetric=True)
    assert bool((q(x) == 0).any()) and q.rounding.codes_of_spec


def test_offset_scales_cover_the_range() -> None:
    low, high = torch.tensor(-1.0), torch.tensor(2.0)
    scale, zero_point, _ = offset_scales(low, high, 3, "real")
    assert -zero_point * scale == low and (3 - zero_point) * scale == high
    assert offset_scales(torch.tensor(0.5), high, 3, "real").zero_point == 0
    assert offset_scales(torch.tensor(-0.7), high, 3, "eight_bits").zero_point == pytest.approx(66 / 85)  # of 0.7778


def test_nothing_is_learned_of_zeros() -> None:
    q = quantizer("integer")
    assert torch.equal(q(torch.zeros(4, 2)), torch.zeros(4, 2))
    assert not factor(q).begun
    assert isinstance(factor(q).start, RangeObserver)
