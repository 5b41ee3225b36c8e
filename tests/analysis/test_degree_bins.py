"""Bins of in-degree, by hand and against pandas."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dqrun.analysis.degree_bins import FEWEST, NodeErrors, by_degree, degree_bins


def test_means_equal_those_of_pandas() -> None:
    generator = np.random.default_rng(0)
    degree = np.concatenate([generator.integers(0, 70, 800), [0] * 10, [1] * 10])
    squared, power = generator.random(820), generator.random(820)
    hit = generator.random(820) < 0.5
    bins = degree_bins([degree])
    assert bins == [(0, 0), (1, 1), (2, 2), (3, 4), (5, 8), (9, 16), (17, 32), (33, 64), (65, 128)]
    found = by_degree(NodeErrors(degree, squared, power, hit, ~hit), bins)
    frame = pd.DataFrame({"degree": degree, "squared": squared, "hit": hit})
    groups = frame.groupby(pd.cut(frame["degree"], [-1, *(high for _, high in bins)]), observed=True)
    assert found.nodes == groups.size().tolist() and sum(found.nodes) == 820
    assert found.error == pytest.approx(((groups["squared"].mean() / power.mean()) ** 0.5).tolist())
    assert found.accuracy == pytest.approx(groups["hit"].mean().tolist())
    assert found.accuracy_fp32 == pytest.approx((1 - groups["hit"].mean()).tolist())


@pytest.mark.parametrize(
    ("degrees", "bins"),
    [
        ([0] * 12 + [1] * 11 + [100], [(0, 0), (1, 128)]),  # one hub is no bin of its own
        ([2] * 12 + [1000] * 10, [(2, 2), (513, 1024)]),  # nor is what has no node
        ([0] * 3 + [1] * 20 + [4] * 20, [(0, 1), (3, 4)]),  # the lowest joins the next
        ([1] * 3, [(1, 1)]),
        ([0, 5, 9], [(0, 16)]),
        ([1025], [(1025, 2048)]),
    ],
)
def test_bins_of_few_nodes_are_merged(degrees: list[int], bins: list[tuple[int, int]]) -> None:
    assert degree_bins([np.array(degrees)]) == bins


def test_every_trial_has_enough_nodes_in_each_bin() -> None:
    many, few = np.array([1] * 50 + [2] * 50), np.array([1] * 50 + [2] * 9)
    assert degree_bins([many]) == [(1, 1), (2, 2)]
    assert degree_bins([many, few]) == [(1, 2)]


@given(st.lists(st.lists(st.integers(0, 300), min_size=1, max_size=60), min_size=1, max_size=3))
def test_bins_hold_every_node_once(lists: list[list[int]]) -> None:
    trials = [np.array(degrees) for degrees in lists]
    bins = degree_bins(trials)
    assert all(low <= high for low, high in bins)
    assert all(high < low for (_, high), (low, _) in pairwise(bins))
    for degrees in trials:
        counts = [int(((degrees >= low) & (degrees <= high)).sum()) for low, high in bins]
        assert sum(counts) == len(degrees) and (len(bins) == 1 or min(counts) >= FEWEST)
        ones = np.ones(len(degrees))
        assert by_degree(NodeErrors(degrees, ones, ones, None, None), bins).nodes == counts


def test_errors_of_tensors_that_are_zero_are_not_divided_by_zero() -> None:
    zeros, degree = np.zeros(20), np.array([1] * 10 + [2] * 10)
    found = by_degree(NodeErrors(degree, np.full(20, 4.0), zeros, None, None), [(1, 1), (2, 2)])
    assert found.error == [2.0, 2.0] and found.nodes == [10, 10]
    assert found.accuracy is None and found.accuracy_fp32 is None
