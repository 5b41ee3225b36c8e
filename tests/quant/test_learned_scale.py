"""Learned steps: how they begin, what they take a gradient of, what stays."""

from __future__ import annotations

import math

import pytest
import torch

from dqrun import kernels
from dqrun.errors import TrialFailed
from dqrun.quant import LearnedScale, Phase, Quantizer, QuantSpec, RangeObserver, UniformRounding


def observed(bits: int = 4) -> Quantizer:
    spec = QuantSpec(bits)
    return Quantizer(RangeObserver(spec, update="running_minmax"), UniformRounding(spec))


def quantizer(
    bits: int = 4,
    symmetric: bool = False,
    is_weight: bool = False,
    shape: tuple[int, ...] = (),
    **options: object,
) -> Quantizer:
    spec = QuantSpec(bits, symmetric=symmetric, narrow=symmetric)
    scales = LearnedScale(RangeObserver(spec, shape, update="running_minmax"), from_mean=is_weight)
    return Quantizer(scales, UniformRounding(spec, **options))


def learned(q: Quantizer) -> LearnedScale:
    assert isinstance(q.scales, LearnedScale)
    return q.scales


def observes(q: Quantizer, x: torch.Tensor) -> bool:
    """Whether a wider tensor widens the range."""
    high = learned(q).start.high.clone()
    q(2 * x)
    return bool(learned(q).start.high > high)


def test_it_begins_as_the_range_of_the_first_training_step() -> None:
    q, plain = quantizer(), observed()
    x = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(q(x), plain(x))
    assert learned(q).begun
    torch.testing.assert_close(q.fixed_scales()[0], plain.fixed_scales()[0])
    assert torch.equal(q.fixed_scales()[1], plain.fixed_scales()[1])
    assert not observes(q, 10 * x), "nothing is observed any more"


def test_zeros_and_kept_rows_do_not_begin_it() -> None:
    q = quantizer()
    x = torch.randn(4, 2)
    assert torch.equal(q(torch.zeros(4, 2)), torch.zeros(4, 2))
    assert torch.equal(q(x, torch.ones(4, dtype=torch.bool)), x)
    assert not learned(q).begun
    q(x)
    assert learned(q).begun


@pytest.mark.parametrize("is_weight", [False, True])
def test_while_steps_are_observed_it_is_as_if_none_were_learned(is_weight: bool) -> None:
    q, plain = quantizer(is_weight=is_weight), observed()
    q.phase = Phase.OBSERVE
    x = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    for factor in (1, 10, 0.1):
        assert torch.equal(q(factor * x), plain(factor * x))
    assert observes(q, 20 * x)
    plain(40 * x)
    assert torch.equal(q.eval()(x), plain.eval()(x))
    assert not learned(q).begun
    q.train().phase = Phase.QUANTIZE
    q(x)
    assert learned(q).begun


@pytest.mark.parametrize("symmetric", [False, True])
def test_a_weights_step_begins_as_lsqs(symmetric: bool) -> None:
    weight = torch.randn(6, 5, generator=torch.Generator().manual_seed(0)) + 0.5
    q = quantizer(symmetric=symmetric, is_weight=True)
    q(torch.zeros(6, 5))
    assert not learned(q).begun
    q(weight)
    scale, zero_point, _ = q.fixed_scales()
    assert scale.item() == pytest.approx(2 * weight.abs().mean().item() / math.sqrt(7)) and zero_point == 0


def test_evaluation_before_it_begins_is_an_error() -> None:
    with pytest.raises(TrialFailed, match="it was evaluated before training"):
        quantizer().eval()(torch.randn(3, 2))


@pytest.mark.parametrize("version", ["reference", "cpu"])
def test_its_gradient_is_lsqs_times_its_scale(version: str) -> None:
    """d/d(log s) = s * d/ds, and LSQ multiplies by 1 / sqrt(elements * qmax)."""
    q = quantizer(symmetric=True)
    x = torch.randn(20, 3, generator=torch.Generator().manual_seed(1))
    q(x)
    with kernels.use(version):
        q(x).sum().backward()
    s = q.fixed_scales()[0].detach()
    place = (x / s).clamp(-7, 7)
    expected = s * (place.round() - torch.where((x / s).abs() < 7, place, 0.0)).sum() / math.sqrt(60 * 7)
    assert learned(q).log_scale.grad is not None
    torch.testing.assert_close(learned(q).log_scale.grad, expected)


def test_noise_gives_a_gradient_of_what_was_rounded() -> None:
    q = quantizer(noise_rate=0.5, generator=torch.Generator().manual_seed(0))
    x = torch.randn(40, 3, generator=torch.Generator().manual_seed(1))
    q(x)
    chosen = q(x) != x
    q.zero_grad()
    q.rounding.generator = torch.Generator().manual_seed(5)
    y = q(x)
    y.sum().backward()
    assert learned(q).log_scale.grad is not None
    scale, zero_point, _ = q.fixed_scales()
    low, high = q.spec.qmin - zero_point, q.spec.qmax - zero_point
    place = x / scale.detach()
    slope = torch.where(place <= low, low, torch.where(place >= high, high, place.round() - place))
    expected = scale.detach() * slope[y != x].sum() / math.sqrt(x.numel() * 7)
    torch.testing.assert_close(learned(q).log_scale.grad, expected)
    assert 0 < chosen.float().mean() < 1


def test_training_moves_it_to_a_smaller_error() -> None:
    """A few large values: the range is much wider than what suits the rest."""
    x = torch.cat([torch.randn(2000, 1, generator=torch.Generator().manual_seed(0)), torch.tensor([[30.0]])])
    q = quantizer(symmetric=True)
    first = (q(x) - x).square().mean().item()
    optimizer = torch.optim.Adam(q.parameters(), lr=0.02)
    for _ in range(200):
        optimizer.zero_grad()
        (q(x[:-1]) - x[:-1]).square().mean().backward()
        optimizer.step()
    assert (q(x[:-1]) - x[:-1]).square().mean().item() < 0.1 * first
    assert q.fixed_scales()[0] > 0


def test_a_loaded_state_has_its_step() -> None:
    q, other = quantizer(), quantizer().eval()
    x = torch.randn(100, 4)
    q(x)
    other.load_state_dict(q.state_dict())
    assert torch.equal(other(x), q.eval()(x))
    assert not other.fixed_scales()[0].requires_grad
    other.load_state_dict(quantizer().state_dict())
    assert not learned(other).begun


def test_an_observed_step_has_no_parameter() -> None:
    q = observed()
    assert not list(q.parameters()) and set(q.state_dict()) == {"scales.low", "scales.high"}


@pytest.mark.parametrize("symmetric", [False, True])
def test_ends_are_the_values_of_the_first_and_the_last_code(symmetric: bool) -> None:
    q = quantizer(3, symmetric)
    q(torch.tensor([[-1.0], [2.5]]))
    scales = learned(q).fixed()
    assert bool(scales.zero_point) is not symmetric
    codes = torch.tensor([q.spec.qmin, q.spec.qmax], dtype=torch.int32)
    torch.testing.assert_close(learned(q).ends(), q.spec.decode(codes, scales))
