"""One bit: values, scales and gradients against formulas written by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from dqrun.graphs import SparseRows
from dqrun.quant import CHANNEL, ROW, Quantizer, QuantSpec, Values
from dqrun.quant.centring import ChannelNorm, Standardised
from dqrun.quant.estimators import Biper, Clipped, Reste, SignEstimator
from dqrun.quant.signs import BoolRounding, MeanScale, NoScale, SignRounding

SIGN = QuantSpec(1, symmetric=True, narrow=True)
ROWS, CHANNELS = replace(SIGN, granularity=ROW), replace(SIGN, granularity=CHANNEL)


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def of_rows(estimator: SignEstimator | None = None) -> Quantizer:
    return Quantizer(MeanScale(ROWS), SignRounding(ROWS, estimator))


def of_channels(shape: tuple[int, ...], xnor: bool) -> Quantizer:
    return Quantizer(MeanScale(CHANNELS, shape, follows=xnor), SignRounding(CHANNELS, Clipped(), xnor))


def test_the_sign_grid() -> None:
    assert (SIGN.qmin, SIGN.qmax, SIGN.is_sign, QuantSpec(1, signed=False).is_sign) == (-1, 1, True, False)
    scales = SIGN.scales(torch.tensor(-1.0), torch.tensor(2.0))
    assert SIGN.encode(torch.tensor([-0.1, 0.0, 7.0]), scales).tolist() == [-1, 1, 1]
    assert SIGN.decode(torch.tensor([-1, 1]), scales).tolist() == [-2.0, 2.0]


def test_a_row_is_its_signs_times_its_mean_size_and_passes_gradients_within_the_window() -> None:
    x = (2 * numbers(5, 6)).requires_grad_()
    y, g = of_rows(Clipped())(x), numbers(5, 6, seed=1)
    torch.testing.assert_close(y, torch.where(x >= 0, 1.0, -1.0) * x.abs().mean(1, keepdim=True))
    (gradient,) = torch.autograd.grad(y, x, g)
    inside = x.abs() <= 1
    assert 5 < int(inside.sum()) < 25 and torch.equal(gradient, g * inside)


def test_protected_rows_stay_and_zeros_of_sparse_rows_have_a_sign() -> None:
    x, protected = numbers(4, 3), torch.tensor([True, False, False, True])
    y = of_rows()(x, protected)
    assert torch.equal(y[protected], x[protected]) and not torch.equal(y[1], x[1])
    bag = torch.tensor([[0.0, 0.5, 0.0, 0.5]])
    assert of_rows()(SparseRows.of(bag)).tolist() == [[0.25] * 4]
    assert (of_rows()(x, relu=True) >= 0).all()


def test_the_gradient_of_a_weight_is_that_of_bi_gcn() -> None:
    """methods: G mean|W| 1[|W| <= 1] + sign(W) / F sum(G sign(W)), a row of the weight for each output."""
    w, g = (0.8 * numbers(3, 7)).requires_grad_(), numbers(3, 7, seed=1)
    with torch.no_grad():
        w[0, 0] = 1.5
    y = of_channels((3, 1), xnor=True)(w)
    (gradient,) = torch.autograd.grad(y, w, g)
    size, sign = w.abs().mean(1, keepdim=True), w.sign()
    wanted = g * size * (w.abs() <= 1) + sign / 7 * (g * sign).sum(1, keepdim=True)
    torch.testing.assert_close(gradient, wanted)
    (plain,) = torch.autograd.grad(of_channels((3, 1), xnor=False)(w), w, g)
    assert torch.equal(plain, g * (w.abs() <= 1))


def test_a_weight_has_one_scale_or_one_for_each_channel() -> None:
    w = numbers(4, 3)
    columns = of_channels((1, 3), xnor=False)(w).abs()
    torch.testing.assert_close(columns, w.abs().mean(0, keepdim=True).expand(4, 3))
    torch.testing.assert_close(of_channels((), xnor=False)(w).abs(), w.abs().mean().expand(4, 3))


def test_the_slope_of_reste_grows_sharper_by_its_schedule() -> None:
    x, estimator = torch.tensor([0.0, 0.1, 0.5, 1.5, 1.6]), Reste(last=3.0, epochs=10)
    estimator.begin_epoch(1)
    assert estimator.slope(x).tolist() == [1.0, 1.0, 1.0, 1.0, 0.0]
    estimator.begin_epoch(11)
    at_3 = estimator.slope(x)
    wanted = [0.1 ** (1 / 3) / 0.1, 0.1 ** (1 / 3) / 0.1, 0.5 ** (-2 / 3) / 3, 1.5 ** (-2 / 3) / 3, 0.0]
    torch.testing.assert_close(at_3, torch.tensor(wanted))
    estimator.begin_epoch(99)
    assert torch.equal(estimator.slope(x), at_3)


def test_biper_is_periodic_and_its_codes_are_those_of_its_values() -> None:
    x, scales = torch.linspace(-0.5, 0.5, 41), MeanScale(SIGN)
    rounding = SignRounding(SIGN, Biper(20.0))
    y = Quantizer(scales, rounding)(x)
    assert torch.equal(y.sign(), torch.where(torch.sin(20 * x) >= 0, 1.0, -1.0))
    assert not torch.equal(y.sign(), torch.where(x >= 0, 1.0, -1.0))
    assert torch.equal(SIGN.decode(rounding.encode(x, scales(Values(x))), scales(Values(x))), y)


@pytest.mark.parametrize("rule", ["mean", "balanced"])
def test_values_without_sign_have_two_levels(rule: str) -> None:
    x = numbers(6, 9).abs()
    y = Quantizer(NoScale(replace(SIGN, signed=False, narrow=False)), BoolRounding(ROWS, rule=rule))(x)
    assert all(row.unique().numel() == 2 and row.min() == 0 for row in y)
    if rule == "mean":
        kept = x >= x.mean(1, keepdim=True)
        torch.testing.assert_close(y, kept * ((x * kept).sum(1) / kept.sum(1)).unsqueeze(1))
    else:
        torch.testing.assert_close(y.sum(1), x.sum(1))
    equal = torch.full((2, 3), 0.3)
    torch.testing.assert_close(Quantizer(NoScale(ROWS), BoolRounding(ROWS, rule=rule))(equal), equal)


def test_the_gradient_of_two_levels_has_the_slope_at_the_threshold() -> None:
    x = torch.tensor([[0.1, 0.2, 3.0]], requires_grad=True)  # its mean, the threshold: 1.1
    for estimator, slope in ((SignEstimator(), [[1.0, 1.0, 1.0]]), (Clipped(), [[1.0, 1.0, 0.0]])):
        y = Quantizer(NoScale(ROWS), BoolRounding(ROWS, estimator))(x)
        (gradient,) = torch.autograd.grad(y.sum(), x)
        assert gradient.tolist() == slope


def test_centring_stands_before_the_signs_and_not_where_nothing_is_rounded() -> None:
    from dqrun.quant import Phase

    x = numbers(40, 3) + torch.tensor([5.0, -5.0, 0.0])
    q = Quantizer(MeanScale(ROWS), SignRounding(ROWS), centring=ChannelNorm(3))
    assert (q(x).sign().sum(0).abs() < 20).all() and (of_rows()(x).sign().sum(0).abs()[:2] == 40).all()
    q.phase = Phase.BYPASS
    assert torch.equal(q(x), x)
    rows = Standardised((1,))(x)
    torch.testing.assert_close(rows.mean(1), torch.zeros(40), atol=1e-5, rtol=0)
    torch.testing.assert_close(rows.square().mean(1), torch.ones(40), atol=1e-2, rtol=0)
