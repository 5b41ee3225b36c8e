"""Ranges of tensors large enough for guessed thresholds: exact, and with the asked share outside.

The share is counted with ties: with k = floor(tail * n), at most k elements lie strictly below the lower end, and at
least k + 1 lie below or at it; likewise above. Where values do not repeat, exactly k lie below.
"""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from versions import cpu

from dqrun.config.method import PERCENTILES
from dqrun.kernels import reference
from dqrun.kernels.cpu.tails import LARGEST_SAMPLE

DISTRIBUTIONS = ("normal", "heavy-tailed", "constant", "tiny", "mostly zero", "one column", "falling")


def draw(distribution: str, rows: int, width: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    normal = torch.randn(rows, width, generator=generator)
    return {
        "normal": normal,
        "heavy-tailed": normal / torch.rand(rows, width, generator=generator) ** 3,
        "constant": torch.full((rows, width), 3.25),
        "tiny": normal * 1e-40,  # subnormal: many elements are equal
        "mostly zero": torch.relu(normal - 1.5),
        "one column": torch.where(torch.arange(width) == 0, normal * 1000, normal),
        "falling": -torch.arange(rows * width).float().view(rows, width),
    }[distribution]


@settings(max_examples=60)
@given(
    st.sampled_from(DISTRIBUTIONS), st.integers(17_000, 60_000), st.sampled_from([1, 3, 31, 33, 63, 65, 97, 145]),
    st.sampled_from([0.0005, 0.001, 0.01, 0.3]), st.sampled_from(["none", "degrees", "hub"]), st.booleans(),
    st.sampled_from(PERCENTILES), st.integers(0, 99),
)  # fmt: skip
def test_is_exact_whatever_the_width(
    distribution: str, size: int, width: int, tail: float, weights: str, kept: bool, percentile: str, seed: int
) -> None:
    rows = size // width
    generator = torch.Generator().manual_seed(seed)
    x, weight = draw(distribution, rows, width, seed), None
    if weights != "none":
        weight = torch.randint(0, 4, (rows,), generator=generator)
    if weights == "hub":
        weight[rows // 3] = 3 * rows  # more than all others together
    protected = torch.rand(rows, generator=generator) < 0.2 if kept else None
    rest = tail, weight, protected, None, percentile
    assert cpu.tail_range(x, *rest) == reference.tail_range(x, *rest)


@pytest.mark.usefixtures("num_threads")
@pytest.mark.parametrize("percentile", PERCENTILES)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_widens_a_range_so_far(distribution: str, weighted: bool, percentile: str) -> None:
    """Much, a little or nothing lies outside it, on one side or on both."""
    x, generator = draw(distribution, 1001, 33), torch.Generator().manual_seed(5)
    weight = torch.randint(0, 4, (1001,), generator=generator) if weighted else None
    all_kept, nothing = torch.ones(1001, dtype=torch.bool), (torch.tensor(torch.inf), torch.tensor(-torch.inf))
    for tail in (0.0, 0.001, 0.01):
        low, high = reference.tail_range(x, tail, weight, percentile=percentile)
        for version in (cpu, reference):
            assert version.tail_range(x, tail, weight, None, nothing, percentile) == (low, high)
        for below, above in ((0.0, 0.0), (0.5, 0.99), (0.99, 1.01), (1.0, 1.0), (1.01, 0.9), (2.0, 2.0)):
            seen = low * below, high * above
            expected = torch.minimum(low, seen[0]), torch.maximum(high, seen[1])
            for version in (cpu, reference):
                assert version.tail_range(x, tail, weight, None, seen, percentile) == expected
                assert version.tail_range(x, tail, weight, all_kept, seen, percentile) == seen


@pytest.mark.usefixtures("num_threads")
@pytest.mark.parametrize("tail", [0.001, 0.01, 0.1])
@pytest.mark.parametrize("version", [cpu, reference])
@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_the_asked_share_lies_outside(distribution: str, version, tail: float) -> None:
    x = draw(distribution, 1001, 97)
    low, high = version.tail_range(x, tail)
    asked = int(tail * x.numel())
    assert asked == pytest.approx(tail * x.numel(), rel=0.05)
    for outside, at_least in (((x < low).sum(), (x <= low).sum()), ((x > high).sum(), (x >= high).sum())):
        assert outside <= asked < at_least
    if distribution in ("heavy-tailed", "falling"):  # without ties
        assert (x < low).sum() == asked == (x > high).sum()


@pytest.mark.parametrize("tail", [0.001, 0.1])
def test_the_asked_share_of_a_weighted_multiset_lies_outside(tail: float) -> None:
    x, generator = draw("normal", 1001, 97), torch.Generator().manual_seed(3)
    weight = (1 / torch.rand(1001, generator=generator)).long()
    low, high = cpu.tail_range(x, tail, weight)
    asked = int(tail * int(weight.sum()) * 97)
    count = weight.unsqueeze(1).expand_as(x)
    for outside, at_least in ((x < low, x <= low), (x > high, x >= high)):
        assert count[outside].sum() <= asked < count[at_least].sum()


@pytest.mark.usefixtures("num_threads")
@pytest.mark.parametrize("place", ["first", "last", "spread"])
def test_outliers_that_a_sample_misses(place: str) -> None:
    """Fewer outliers than a guess expects, and in one spot, so that one thread collects them all."""
    x = torch.zeros(4 * LARGEST_SAMPLE)
    where = {"first": slice(0, 60), "last": slice(-60, None), "spread": slice(0, None, 1001)}[place]
    x[where] = torch.arange(1.0, x[where].numel() + 1)
    for tail in (30 / x.numel(), 59 / x.numel(), 200 / x.numel()):
        assert cpu.tail_range(x.view(-1, 4), tail) == reference.tail_range(x.view(-1, 4), tail)
