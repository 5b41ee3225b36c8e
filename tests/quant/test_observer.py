"""Ranges over time: each update rule against its definition."""

import pytest
import torch
from torch import Tensor

from dqrun.quant import Phase, QuantSpec, RangeObserver, Values


def observer_of(**options: object) -> RangeObserver:
    return RangeObserver(QuantSpec(8), **options)


def see(
    observer: RangeObserver, x: Tensor, multiplicity: Tensor | None = None, protected: Tensor | None = None
) -> None:
    assert observer.observe(Values(x, protected, multiplicity), Phase.QUANTIZE)


def feed(observer: RangeObserver, *steps: list[float]) -> tuple[float, float]:
    for step in steps:
        see(observer, torch.tensor(step).unsqueeze(-1))
    return observer.low.item(), observer.high.item()


def test_widen_keeps_extremes() -> None:
    assert feed(observer_of(update="running_minmax"), [-1.0, 2.0], [-3.0, 1.0], [0.0, 0.5]) == (-3.0, 2.0)


def test_average_starts_at_the_first_range() -> None:
    low, high = feed(observer_of(update="ema", momentum=0.1), [-1.0, 2.0], [-3.0, 4.0])
    assert (low, high) == pytest.approx((-1.2, 2.2))


def test_latest_forgets() -> None:
    assert feed(observer_of(update="last_batch"), [-1.0, 2.0], [-3.0, 1.0]) == (-3.0, 1.0)


@pytest.mark.parametrize("update", ["running_minmax", "ema", "last_batch"])
def test_nothing_seen_changes_nothing(update: str) -> None:
    observer = observer_of(update=update)
    x = torch.tensor([[-1.0], [5.0]])
    all_kept = torch.tensor([True, True])
    see(observer, x, None, all_kept)
    assert not observer.ready
    see(observer, x)
    see(observer, 10 * x, None, all_kept)
    assert (observer.low.item(), observer.high.item()) == (-1.0, 5.0)


def test_tail_leaves_a_share_out_on_each_side() -> None:
    observer = observer_of(tail=0.01, update="last_batch")
    see(observer, torch.arange(1000.0).unsqueeze(-1))
    assert (observer.low.item(), observer.high.item()) == (10.0, 989.0)


def test_rows_count_as_often_as_their_weight() -> None:
    x = torch.tensor([[0.0], [1.0], [100.0]])
    weight = torch.tensor([0, 90, 10])
    observer = observer_of(tail=0.2, update="last_batch")
    see(observer, x, weight)
    assert (observer.low.item(), observer.high.item()) == (1.0, 1.0)


def test_state_has_a_fixed_shape_and_loads() -> None:
    fresh = observer_of(tail=0.1)
    used = observer_of(tail=0.1)
    see(used, torch.randn(100, 3))
    assert {name: value.shape for name, value in fresh.state_dict().items()} == {
        name: value.shape for name, value in used.state_dict().items()
    }
    fresh.load_state_dict(used.state_dict())
    assert torch.equal(fresh.low, used.low) and fresh.ready


@pytest.mark.parametrize(
    ("values", "nonzero"), [([2.0], True), ([-2.0], True), ([0.0], False), ([0.0, 3.0], True), ([-3.0, 0.0], True)]
)
def test_one_value_was_seen_and_may_be_zero(values: list[float], nonzero: bool) -> None:
    observer = observer_of()
    assert not observer.ready and not observer.has_seen_nonzero
    feed(observer, values)
    assert observer.ready and observer.has_seen_nonzero is nonzero


def test_percentiles_by_rank() -> None:
    """n = 256, tail 0.01: the 3rd and the 254th, or as `torch.kthvalue` the 2nd and the 253rd."""
    x = torch.arange(1.0, 257.0).unsqueeze(-1)
    for percentile, expected in (("symmetric", (3.0, 254.0)), ("kthvalue", (2.0, 253.0))):
        observer = observer_of(tail=0.01, percentile=percentile)
        see(observer, x)
        assert (observer.low.item(), observer.high.item()) == expected


def test_averages_have_momentum_one_hundredth() -> None:
    assert feed(observer_of(), [-1.0, 2.0], [-2.0, 4.0]) == pytest.approx((-1.01, 2.02))


def test_scales_follow_the_range_wherever_it_changes() -> None:
    """They are computed once for a range, and again when training or a checkpoint moves it."""
    observer = observer_of(update="running_minmax")
    feed(observer, [-1.0, 2.0])
    first = observer.fixed()
    assert observer.fixed() is first
    feed(observer, [0.5, 1.0])
    assert observer.fixed() is first
    feed(observer, [-1.0, 4.0])
    assert observer.fixed().scale == observer.spec.scales(observer.low, observer.high).scale > first.scale
    other = observer_of(update="running_minmax")
    other.fixed()
    other.load_state_dict(observer.state_dict())
    assert other.fixed().scale == observer.fixed().scale
    with torch.inference_mode():
        assert observer.fixed() is not observer.fixed()  # such scales could not be kept for a backward pass
