"""Weights of several binary planes: values, gradients, bits, and codes with flipped bits."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from dqrun.errors import ConfigError
from dqrun.quant import LearnedScale, Quantizer, QuantSpec, RangeObserver, UniformRounding, Values
from dqrun.quant.binary_weights import (
    Bases,
    Salient,
    SalientRule,
    TernaryRounding,
    TernaryScale,
    TwoBinaries,
    unchanged,
)
from dqrun.quant.signs import MeanScale, SignRounding

SIGN, TWO = QuantSpec(1, symmetric=True, narrow=True), QuantSpec(2, symmetric=True, narrow=True)
SHAPE = (3, 1)


def weight(seed: int = 0) -> Tensor:
    return torch.randn(3, 40, generator=torch.Generator().manual_seed(seed))


def signed() -> Quantizer:
    return Quantizer(MeanScale(SIGN, SHAPE), SignRounding(SIGN))


def uniform() -> Quantizer:
    spec = QuantSpec(4)
    return Quantizer(RangeObserver(spec, SHAPE), UniformRounding(spec))


def two_binaries() -> Quantizer:
    return Quantizer(MeanScale(SIGN, SHAPE), TwoBinaries(TWO, MeanScale(SIGN, SHAPE)))


def ternary() -> Quantizer:
    return Quantizer(TernaryScale(TWO, SHAPE), TernaryRounding(TWO, SHAPE))


def salient(by: str = "magnitude") -> Salient:
    return Salient(signed(), SalientRule((3, 40), 0.1, 8, by))


def bases(kept: int = 2, number: int = 2) -> Bases:
    return Bases([signed() for _ in range(number)], kept)


def test_each_basis_rounds_what_is_left_and_brings_the_sum_nearer() -> None:
    w = weight()
    errors = [(bases(number, number)(w) - w).square().mean() for number in (1, 2, 3, 4)]
    assert all(later < 0.6 * earlier for earlier, later in pairwise(errors))
    first = w.abs().mean(1, keepdim=True) * w.sign()
    rest = w - first
    torch.testing.assert_close(bases()(w), first + rest.abs().mean(1, keepdim=True) * rest.sign())


def test_early_bases_are_used_where_they_are_asked_for() -> None:
    q, w = bases(kept=1, number=2), weight()
    assert torch.equal(q(w), signed()(w)) and q.bits == 1
    q.use_all(True)
    assert torch.equal(q(w), bases()(w))
    q.use_all(False)
    assert torch.equal(q(w), signed()(w))


def test_a_penalty_draws_the_scales_of_bases_that_do_not_stay() -> None:
    def part() -> Quantizer:
        return Quantizer(LearnedScale(RangeObserver(SIGN, SHAPE), from_mean=True), SignRounding(SIGN))

    for kept in (1, 2, 3):
        q = Bases([part() for _ in range(3)], kept)
        assert q.passing_scales() == []  # none has begun
        q.use_all(True)
        q(weight())
        assert len(q.passing_scales()) == 3 - kept and all((scale > 0).all() for scale in q.passing_scales())


def test_ternary_values_are_those_of_twn() -> None:
    w = weight().requires_grad_()
    q = ternary()
    y = q(w)
    kept = w.abs() > 0.7 * w.abs().mean(1, keepdim=True)
    scale = (w.abs() * kept).sum(1, keepdim=True) / kept.sum(1, keepdim=True)
    torch.testing.assert_close(y, w.sign() * kept * scale)
    codes, scales = q.encode(w)
    assert codes.unique().tolist() == [-1, 0, 1]
    torch.testing.assert_close(TWO.decode(codes, scales), y)
    (gradient,) = torch.autograd.grad(y.sum(), w)
    assert torch.equal(gradient, torch.ones_like(w))


def test_two_binaries_give_the_nearest_of_four_levels() -> None:
    w = weight()
    s = w.abs().mean(1, keepdim=True)
    levels = torch.stack([-s, 0 * s, s, 2 * s]).expand(4, 3, 40)
    nearest = levels.gather(0, (levels - w).abs().argmin(0, keepdim=True))[0]
    y = two_binaries()(w)
    torch.testing.assert_close(y, nearest)
    assert all(row.unique().numel() == 4 for row in y)


def test_salient_weights_are_kept_at_eight_bits() -> None:
    q, w = salient().train(), weight()
    y = q(w)
    kept = q.salient
    assert int(kept.sum()) == 12 and w.abs()[kept].min() >= w.abs()[~kept].max()
    assert (y - w)[kept].abs().max() <= w.abs().max() / 254 * 1.001
    assert all(row[~mask].abs().unique().numel() == 1 for row, mask in zip(y, kept, strict=True))
    assert q.bits == pytest.approx(1 + 0.1 * 8 + 0.9)
    assert not q.has_codes
    rule = SalientRule(SHAPE, 0.1, 8, "magnitude")
    assert rule.ends == (-127, 127) and rule.spec.symmetric


def test_salience_by_the_hessian_follows_the_gradients() -> None:
    q, w = salient("hessian").train(), weight().requires_grad_()
    q(w)
    by_size = q.salient.clone()
    importance = torch.zeros(3, 40)
    importance[:, :4] = 1000.0
    (q(w) * importance).sum().backward()
    q(w)
    assert torch.equal(q.salient, by_size)  # until the next choice
    q.choose()
    q(w)
    assert bool(q.salient[:, :4].all()) and int(q.salient.sum()) == 12
    q.eval().choose()
    q(w)
    assert int(q.salient.sum()) == 12


MADE = [signed, uniform, two_binaries, ternary, salient, bases]


@pytest.mark.parametrize("make", MADE)
def test_codes_without_a_flip_are_the_rounded_weight(make) -> None:  # type: ignore[no-untyped-def]
    q, w = make().train(), weight()
    y = q(w)
    torch.testing.assert_close(q.eval().flipped(w, unchanged), y)


@pytest.mark.parametrize("make", MADE)
def test_one_flipped_bit_changes_one_element(make) -> None:  # type: ignore[no-untyped-def]
    q, w = make().train(), weight()
    y, seen = q(w), []

    def flip(codes: Tensor, bits: int) -> Tensor:
        assert codes.dtype == torch.int64 and int(codes.min()) >= 0 and int(codes.max()) < 1 << bits
        first, seen_now = not seen, codes.clone()
        seen.append(codes.numel() * bits)
        if first:
            seen_now.view(-1)[0] ^= 1
        return seen_now

    changed = q.eval().flipped(w, flip)
    assert int(((changed - y).abs() > 1e-6).sum()) == 1
    assert sum(seen) >= w.numel()


def test_a_rounding_without_codes_says_so() -> None:
    class Mine(SignRounding):
        def __init__(self) -> None:
            super().__init__(SIGN)
            self.codes_of_spec = False

    with pytest.raises(ConfigError, match="Mine has no codes whose bits could be flipped"):
        Quantizer(MeanScale(SIGN), Mine()).flipped(weight(), unchanged)


def test_a_learned_scale_of_signs_begins_at_the_mean_size() -> None:
    scales = LearnedScale(RangeObserver(SIGN, SHAPE), from_mean=True)
    q, w = Quantizer(scales, SignRounding(SIGN)).train(), weight()
    torch.testing.assert_close(q(w).abs(), w.abs().mean(1, keepdim=True).expand(3, 40))
    q(w).square().sum().backward()
    assert scales.log_scale.grad is not None and bool((scales.log_scale.grad > 0).all())
    assert torch.equal(Values(w).x, w)
