"""Quantisers: what they observe, what they round, what they leave alone."""

import pytest
import torch

from dqrun.errors import TrialFailed
from dqrun.quant import Phase, Quantizer, QuantSpec, RangeObserver, UniformRounding
from dqrun.quant.binary_weights import TernaryRounding
from dqrun.quant.signs import BoolRounding, SignRounding


def quantizer(bits: int = 4, tail: float = 0.0, protects: bool = True, **options: object) -> Quantizer:
    spec = QuantSpec(bits)
    scales = RangeObserver(spec, tail=tail, update="running_minmax")
    return Quantizer(scales, UniformRounding(spec, **options), protects)


def test_training_observes_and_rounds_evaluation_only_rounds() -> None:
    q = quantizer()
    x = torch.linspace(-1, 2, 50).unsqueeze(-1)
    y = q(x)
    assert (q.scales.low.item(), q.scales.high.item()) == (-1.0, 2.0)
    assert y.unique().numel() == 16
    q.eval()
    assert q(10 * x).max() <= 2.1
    assert q.scales.high.item() == 2.0


def test_kept_rows_are_exact_and_not_observed() -> None:
    x = torch.tensor([[0.11, -0.5], [1000.1, 7.7], [0.33, 0.9]])
    protected = torch.tensor([False, True, False])
    q = quantizer(2)
    y = q(x, protected)
    assert torch.equal(y[1], x[1])
    assert not torch.equal(y[0], x[0])
    assert q.scales.high.item() == pytest.approx(0.9)


def test_unprotectable_site_ignores_the_mask() -> None:
    x = torch.tensor([[0.1], [9.0]])
    q = quantizer(2, protects=False)
    q(x, torch.tensor([True, True]))
    assert q.scales.high.item() == 9.0


def test_multiplicity_counts_rows_for_the_range() -> None:
    q = quantizer(8, tail=0.1)
    x = torch.tensor([[0.0], [1.0], [50.0]])
    q(x, None, torch.tensor([1, 18, 1]))
    assert q.scales.high.item() == 1.0


def test_evaluation_before_observation_is_an_error() -> None:
    q = quantizer().eval()
    with pytest.raises(TrialFailed, match="it was evaluated before training"):
        q(torch.randn(3, 2))


def test_training_that_shows_no_value_is_an_error_in_evaluation() -> None:
    q = quantizer()
    q(torch.randn(3, 2), torch.ones(3, dtype=torch.bool))
    with pytest.raises(TrialFailed, match="no value was observed there, because every row was protected"):
        q.eval()(torch.randn(3, 2))


def test_loading_a_range_makes_it_usable() -> None:
    q = quantizer()
    q(torch.randn(100, 4))
    other = quantizer().eval()
    other.load_state_dict(q.state_dict())
    x = torch.randn(10, 4)
    assert torch.equal(other(x), q.eval()(x))


def test_phases() -> None:
    q = quantizer()
    x = torch.randn(10, 2)
    q.phase = Phase.BYPASS
    assert q(x) is x and not q.scales.ready
    q.phase = Phase.CALIBRATE
    q.eval()
    assert q(x) is x and q.scales.ready
    q.phase = Phase.QUANTIZE
    assert not torch.equal(q(x), x)


def test_noise_rounds_a_share_of_the_elements_in_training_only() -> None:
    q = quantizer(2, noise_rate=0.3, generator=torch.Generator().manual_seed(1))
    x = torch.randn(200, 50)
    rounded = (q(x) != x).float().mean().item()
    assert rounded == pytest.approx(0.3, abs=0.02) and q.noisy
    q.eval()
    assert q(x).unique().numel() <= 4 and not q.noisy


def test_noise_draws_from_its_generator() -> None:
    x = torch.randn(20, 5)
    outputs = [quantizer(2, noise_rate=0.5, generator=torch.Generator().manual_seed(seed))(x) for seed in (1, 1, 2)]
    assert torch.equal(outputs[0], outputs[1]) and not torch.equal(outputs[0], outputs[2])


def test_other_roundings_draw_no_noise() -> None:
    spec = QuantSpec(1, symmetric=True, narrow=True)
    for rounding in (SignRounding(spec), BoolRounding(spec), TernaryRounding(spec)):
        assert not Quantizer(RangeObserver(spec), rounding).noisy
    assert not quantizer(noise_rate=1.0).noisy


@pytest.mark.parametrize("estimator", ["ste", "clipped", "clipped_ends"])
def test_gradients(estimator: str) -> None:
    q = quantizer(2, estimator=estimator)
    q(torch.tensor([[-1.0], [2.0]]))  # step 1, codes -2..1 stand for -1, 0, 1, 2
    q.eval()
    x = torch.tensor([[-3.0], [-0.9], [0.2], [1.9], [5.0]], requires_grad=True)
    q(x).sum().backward()
    expected = {"ste": [1, 1, 1, 1, 1], "clipped": [0, 1, 1, 1, 0], "clipped_ends": [0, 0, 1, 0, 0]}[estimator]
    assert x.grad is not None and x.grad.flatten().tolist() == expected
