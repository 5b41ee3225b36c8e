"""Learned steps: how they begin, what they take a gradient of, what stays."""

from __future__ import annotations

import math

import pytest
import torch

from dqrun import kernels
from dqrun.errors import TrialFailed
from dqrun.quant import Grid, Observer, Phase, Quantizer


def quantizer(bits: int = 4, symmetric: bool = False, **options: object) -> Quantizer:
    return Quantizer(Grid(bits, symmetric=symmetric), Observer(update="running_minmax"), learned_scale=True, **options)


def test_it_begins_as_the_range_of_the_first_training_step() -> None:
    q, plain = quantizer(), Quantizer(Grid(4), Observer(update="running_minmax"))
    x = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(q(x), plain(x))
    assert q.learned_scale is not None and q.learned_scale.begun
    torch.testing.assert_close(q.params()[0], plain.params()[0])
    assert torch.equal(q.params()[1], plain.params()[1])
    low = q.observer.low.clone()
    q(10 * x)
    assert torch.equal(q.observer.low, low) and not q.observing, "nothing is observed any more"


def test_zeros_and_kept_rows_do_not_begin_it() -> None:
    q = quantizer()
    x = torch.randn(4, 2)
    assert torch.equal(q(torch.zeros(4, 2)), torch.zeros(4, 2))
    assert torch.equal(q(x, torch.ones(4, dtype=torch.bool)), x)
    assert q.learned_scale is not None and not q.learned_scale.begun
    q(x)
    assert q.learned_scale.begun


@pytest.mark.parametrize("is_weight", [False, True])
def test_while_steps_are_observed_it_is_as_if_none_were_learned(is_weight: bool) -> None:
    q, plain = quantizer(is_weight=is_weight), Quantizer(Grid(4), Observer(update="running_minmax"))
    q.phase = Phase.OBSERVE
    x = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    for factor in (1, 10, 0.1):
        assert torch.equal(q(factor * x), plain(factor * x)) and q.observing
    assert torch.equal(q.eval()(x), plain.eval()(x))
    assert q.learned_scale is not None and not q.learned_scale.begun
    q.train().phase = Phase.QUANTIZE
    q(x)
    assert q.learned_scale.begun


@pytest.mark.parametrize("symmetric", [False, True])
def test_a_weights_step_begins_as_lsqs(symmetric: bool) -> None:
    weight = torch.randn(6, 5, generator=torch.Generator().manual_seed(0)) + 0.5
    q = quantizer(symmetric=symmetric, is_weight=True)
    q(torch.zeros(6, 5))
    assert q.learned_scale is not None and not q.learned_scale.begun
    q(weight)
    scale, zero_point = q.params()
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
    s = q.params()[0].detach()
    place = (x / s).clamp(-7, 7)
    expected = s * (place.round() - torch.where((x / s).abs() < 7, place, 0.0)).sum() / math.sqrt(60 * 7)
    assert q.learned_scale is not None and q.learned_scale.log_scale.grad is not None
    torch.testing.assert_close(q.learned_scale.log_scale.grad, expected)


def test_noise_gives_a_gradient_of_what_was_rounded() -> None:
    q = quantizer(noise_rate=0.5, generator=torch.Generator().manual_seed(0))
    x = torch.randn(40, 3, generator=torch.Generator().manual_seed(1))
    q(x)
    chosen = q(x) != x
    q.zero_grad()
    q.generator = torch.Generator().manual_seed(5)
    y = q(x)
    y.sum().backward()
    assert q.learned_scale is not None and q.learned_scale.log_scale.grad is not None
    scale, zero_point = q.params()
    low, high = q.grid.qmin - zero_point, q.grid.qmax - zero_point
    place = x / scale.detach()
    slope = torch.where(place <= low, low, torch.where(place >= high, high, place.round() - place))
    expected = scale.detach() * slope[y != x].sum() / math.sqrt(x.numel() * 7)
    torch.testing.assert_close(q.learned_scale.log_scale.grad, expected)
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
    assert q.params()[0] > 0


def test_a_loaded_state_has_its_step() -> None:
    q, other = quantizer(), quantizer().eval()
    x = torch.randn(100, 4)
    q(x)
    other.load_state_dict(q.state_dict())
    assert torch.equal(other(x), q.eval()(x))
    assert not other.params()[0].requires_grad
    other.load_state_dict(quantizer().state_dict())
    assert other.learned_scale is not None and not other.learned_scale.begun


def test_an_observed_step_has_no_parameter() -> None:
    q = Quantizer(Grid(4), Observer())
    assert q.learned_scale is None and set(q.state_dict()) == {"observer.low", "observer.high"}
