"""Mixtures of quantisers of several widths."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from dqrun.graphs import SparseRows, dense
from dqrun.kernels.combine import weighted_sum
from dqrun.quant import Phase, Quantizer, QuantSpec, RangeObserver, Scales, UniformRounding, Values
from dqrun.quant.mean_gradient import MeanGradientRounding
from dqrun.quant.mixture import Mixture, mixtures

X = torch.randn(40, 6, generator=torch.Generator().manual_seed(0))


def candidate(bits: int) -> Quantizer:
    return Quantizer(RangeObserver(QuantSpec(bits)), UniformRounding(QuantSpec(bits)))


def mixture(temperature: float | None = None) -> Mixture:
    generator = torch.Generator().manual_seed(1)
    return Mixture([candidate(bits) for bits in (2, 4, 8)], temperature, generator)


def test_a_mixture_is_the_mean_of_its_candidates_by_preference() -> None:
    mixed = mixture()
    mixed.preference.data = torch.tensor([0.3, -1.0, 2.0])
    alone = [candidate(bits)(X) for bits in (2, 4, 8)]
    p = mixed.preference.detach().softmax(0)
    x = X.clone().requires_grad_()
    y = mixed(x)
    torch.testing.assert_close(y.detach(), sum(w * each for w, each in zip(p, alone, strict=True)))
    assert mixed.count == X.numel()
    y.square().sum().backward()
    slopes = torch.stack([(2 * y.detach() * each).sum() for each in alone])
    torch.testing.assert_close(mixed.preference.grad, p * (slopes - (p * slopes).sum()))
    torch.testing.assert_close(x.grad, 2 * y.detach())


def test_the_penalty_draws_to_narrow_widths() -> None:
    mixed = mixture()
    bits = mixed.mean_bits()
    assert bits.item() == pytest.approx(14 / 3)
    bits.backward()
    slope = mixed.preference.grad
    assert slope is not None and slope[0] < 0 < slope[2]


def test_what_was_chosen_stands_alone_and_stays_after_a_state_was_loaded() -> None:
    mixed = mixture()
    mixed.preference.data[1] = 1.0
    mixed(X)
    mixed.choose()
    loaded = mixture()
    assert loaded.searched and loaded.spec.bits == 2
    loaded.load_state_dict(mixed.state_dict())
    for each in (mixed.eval(), loaded.eval(), copy.deepcopy(mixed)):
        assert not each.searched and each.spec.bits == 4
        assert torch.equal(each(X), candidate(4)(X)) and each.fixed_scales() == each.candidates[1].fixed_scales()
        assert torch.equal(each.round(X), each(X))


def test_gumbel_draws_differ_and_evaluation_takes_the_preferred() -> None:
    mixed = mixture(temperature=0.5)
    mixed.preference.data[2] = 1.0
    first, second = mixed(X), mixed(X)
    assert not torch.equal(first, second)
    y = mixed.eval()(X)
    assert torch.equal(y, mixed.candidates[2](X)) and torch.equal(y, mixed(X))
    lows = [mixture(temperature=0.01)._weights().max().item() for _ in range(3)]
    assert min(lows) > 0.99


def test_a_mixture_that_is_told_to_do_nothing() -> None:
    mixed = mixture()
    mixed.phase = Phase.BYPASS
    assert torch.equal(mixed(X), X) and mixtures(torch.nn.Sequential(mixed)) == [mixed]


def test_sums_of_sparse_rows() -> None:
    rows = SparseRows.of(torch.where(X > 1, X, 0.0))
    both = weighted_sum([rows, rows.with_values(2 * rows.values)], torch.tensor([0.5, 3.0]))
    torch.testing.assert_close(both.to_dense(), 6.5 * rows.to_dense())
    mixed = mixture()
    torch.testing.assert_close(dense(mixed(rows)), copy.deepcopy(mixed)(rows.to_dense()))


def scale_gradient(rounding: UniformRounding, scale: Tensor, x: Tensor) -> Tensor:
    scale = scale.clone().requires_grad_()
    y = rounding(Values(x), Scales(scale, torch.zeros_like(scale, dtype=torch.int32)))
    (y * torch.arange(y.numel()).view(y.shape)).sum().backward()
    assert scale.grad is not None
    return scale.grad


@pytest.mark.parametrize("shape", [(), (40, 1)])
def test_the_released_gradient_of_a_scale_lacks_a_term(shape: tuple[int, ...]) -> None:
    """Mean of g x / s, where LSQ has g (round(x / s) - x / s) inside the grid."""
    scale, g = torch.full(shape, 0.8), torch.arange(X.numel()).view(X.shape)
    found = scale_gradient(MeanGradientRounding(QuantSpec(4, symmetric=True)), scale, X)
    terms = g * X / 0.8
    torch.testing.assert_close(found, terms.mean(1, keepdim=True) if shape else terms.mean())
    right = scale_gradient(UniformRounding(QuantSpec(4, symmetric=True)), scale, X)
    slopes = g * (torch.round(X / 0.8) - X / 0.8)
    torch.testing.assert_close(right, slopes.sum(1, keepdim=True) if shape else slopes.sum(), atol=1e-3, rtol=1e-3)
