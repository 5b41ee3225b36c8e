"""The share of a range that gives the least error."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dqrun.quant import Phase, QuantSpec, RangeObserver
from dqrun.quant.shares import Search, best_share, on_grid
from dqrun.quant.shrunk_range import MOST, ShrunkRange
from dqrun.quant.values import Values

SPEC = QuantSpec(3, symmetric=True, narrow=True)


@pytest.fixture
def x() -> Tensor:
    """A few large values."""
    return torch.cat([torch.randn(500, 2, generator=torch.Generator().manual_seed(0)), torch.full((1, 2), 9.0)])


def provider(x: Tensor, shape: tuple[int, ...] = (), power: float = 2.0) -> ShrunkRange:
    made = ShrunkRange(RangeObserver(SPEC, shape, update="running_minmax"), Search(20, power))
    made.observe(Values(x), Phase.CALIBRATE)
    return made


def error(x: Tensor, share: float, power: float) -> float:
    rounded = on_grid(SPEC)(x, x.min() * share, x.max() * share)
    return (rounded - x).abs().pow(power).sum().item()


@pytest.mark.parametrize("power", [1.0, 2.0])
def test_no_other_share_has_a_smaller_error(x: Tensor, power: float) -> None:
    found = provider(x, power=power)
    scale = found.fixed().scale
    errors = {i / 20: error(x, i / 20, power) for i in range(1, 21)}
    assert found.share.item() == pytest.approx(min(errors, key=errors.__getitem__)) and found.share < 1
    torch.testing.assert_close(scale, found.share * 9.0 / SPEC.qmax)


def test_each_channel_has_its_share(x: Tensor) -> None:
    weight = torch.stack([x[:, 0], x[:-1, 1].repeat(2)[: x.size(0)]])
    found = provider(weight, (2, 1))
    found.fixed()
    for row, share in zip(weight, found.share.flatten(), strict=True):
        symmetric = torch.stack([row.min(), row.max()])
        assert share == best_share(row, symmetric[0], symmetric[1], found.search, on_grid(SPEC))
    assert found.share[0] < found.share[1]


@pytest.mark.parametrize("batches", [2, 3])
def test_all_batches_of_a_calibration_count(x: Tensor, batches: int) -> None:
    first, *others = x[-1:], *x[:-1].tensor_split(batches - 1)  # the first has the large values alone
    one, several = provider(torch.cat([first, *others])), provider(first)
    for batch in others:
        several.observe(Values(batch), Phase.CALIBRATE)
    assert torch.equal(one.fixed().scale, several.fixed().scale) and torch.equal(one.share, several.share)


def test_what_is_kept_of_many_batches_is_bounded() -> None:
    found = provider(torch.randn(MOST // 8, 2))
    for _ in range(20):
        found.observe(Values(torch.randn(MOST // 8, 2)), Phase.CALIBRATE)
    assert sum(numbers.numel() for numbers in found._seen) <= MOST
    found.fixed()
    assert not found._seen


def test_in_training_each_step_searches_anew(x: Tensor) -> None:
    found = ShrunkRange(RangeObserver(SPEC, update="last_batch"), Search(20, 2.0))
    assert found.observe(Values(x), Phase.QUANTIZE)
    first = found.fixed().scale
    found.observe(Values(x[:-1]), Phase.QUANTIZE)
    assert found.fixed().scale < first
    found.eval()
    assert not found.observe(Values(x), Phase.QUANTIZE)


def test_of_shares_with_equal_errors_the_largest_is_taken() -> None:
    zeros, low, high = torch.zeros(5), torch.tensor(-1.0), torch.tensor(1.0)
    for x in (zeros, zeros[:0]):
        assert best_share(x, low, high, Search(20, 2.0), on_grid(SPEC)) == 1
