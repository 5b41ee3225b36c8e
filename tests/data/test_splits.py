"""Splits: the reference's folds, sizes and shares of random splits, and what cannot be split."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedKFold

from dqrun.config import ProtocolConfig
from dqrun.data.dataset import GraphDataset
from dqrun.data.packed import PackedGraphs
from dqrun.data.splits import PARTS, Split, k_folds, random_split, split_for, stratified_folds
from dqrun.errors import ConfigError, DataError

SEEDS = ProtocolConfig(name="seeds")
KFOLD = ProtocolConfig(name="kfold", num_folds=5)


def labels(counts: list[int]) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts)))


def dataset(y: torch.Tensor, num_classes: int = 2, task: str = "graph_classification") -> GraphDataset:
    empty = torch.zeros(2, 0, dtype=torch.int64)
    packed = PackedGraphs.from_edges(
        empty, torch.ones_like(y, dtype=torch.int64), torch.zeros(len(y), dtype=torch.int64)
    )
    return GraphDataset("toy", task, packed, y, num_classes)


def assert_partition(split: Split, size: int) -> None:
    everything = torch.cat([split.train, split.val, split.test])
    assert torch.equal(everything.sort().values, torch.arange(size))
    assert all(split.part(name).dtype == torch.int64 for name in PARTS)


@pytest.mark.parametrize("fold", range(5))
def test_folds_are_scikit_learn_s_with_the_previous_fold_as_validation(fold: int) -> None:
    y = labels([30, 21])
    folds = StratifiedKFold(5, shuffle=True, random_state=12345)
    tests = [test.tolist() for _, test in folds.split(np.zeros(51), y.numpy())]
    split = stratified_folds(y, 5, fold, 12345)
    assert split.test.tolist() == tests[fold]
    assert split.val.tolist() == tests[(fold - 1) % 5]
    assert_partition(split, 51)


def test_folds_of_a_regression_ignore_the_targets() -> None:
    y = torch.randn(23, generator=torch.Generator().manual_seed(0))
    splits = [k_folds(y, 0, 5, fold, 1) for fold in range(5)]
    assert torch.equal(torch.cat([split.test for split in splits]).sort().values, torch.arange(23))
    assert torch.equal(splits[0].val, splits[4].test)


@given(st.lists(st.integers(0, 40), min_size=2, max_size=5), st.integers(0, 2**31 - 1))
@settings(max_examples=50)
def test_random_splits_are_stratified_partitions(counts: list[int], seed: int) -> None:
    y = labels(counts)
    if len(y) < 5:
        with pytest.raises(DataError, match="at least 5"):
            random_split(y, len(counts), seed)
        return
    split = random_split(y, len(counts), seed)
    assert_partition(split, len(y))
    for name, share in zip(PARTS, (0.6, 0.2, 0.2), strict=True):
        members = torch.bincount(y[split.part(name)], minlength=len(counts))
        assert abs(len(split.part(name)) - share * len(y)) <= 1.01
        assert all(abs(int(got) - share * count) <= 1.61 for got, count in zip(members, counts, strict=True))


def test_random_splits_depend_on_the_split_seed_only() -> None:
    y = labels([40, 40])
    assert torch.equal(random_split(y, 2, 3).test, random_split(y, 2, 3).test)
    assert not torch.equal(random_split(y, 2, 3).test, random_split(y, 2, 4).test)
    first = split_for(dataset(y), ProtocolConfig(name="seeds", first_seed=0), None)
    assert torch.equal(first.test, split_for(dataset(y), ProtocolConfig(name="seeds", first_seed=7), None).test)


def test_an_official_split_is_used_as_it_is() -> None:
    official = Split.from_sizes(3, 2, 1)
    toy = replace(dataset(labels([3, 3])), official=official)
    assert split_for(toy, SEEDS, None) is official
    with pytest.raises(ConfigError, match="toy has an official split"):
        split_for(toy, KFOLD, 0)


def test_an_official_split_needs_every_part() -> None:
    toy = replace(dataset(labels([3, 3])), official=Split.from_sizes(4, 0, 2))
    with pytest.raises(DataError, match="the val part of the split is empty"):
        split_for(toy, SEEDS, None)


def test_node_tasks_without_a_split_get_a_random_one() -> None:
    toy = dataset(labels([10, 10]), task="node_classification")
    assert_partition(split_for(toy, SEEDS, None), 20)
    with pytest.raises(ConfigError, match=r"protocol\.name must be seeds for node tasks"):
        split_for(toy, KFOLD, 0)


@pytest.mark.parametrize("fold", [None, -1, 5])
def test_a_fold_outside_the_protocol_is_an_error(fold: int | None) -> None:
    with pytest.raises(ConfigError, match=r"protocol\.folds must list folds in 0\.\.4"):
        split_for(dataset(labels([10, 10])), KFOLD, fold)


def test_seeds_have_no_folds() -> None:
    with pytest.raises(ConfigError, match=r"protocol\.folds must be null"):
        split_for(dataset(labels([10, 10])), SEEDS, 0)


def test_a_class_smaller_than_the_number_of_folds_is_an_error() -> None:
    rule = r"protocol\.num_folds must be <= 3, the number of members of class 1, got 5"
    with pytest.raises(ConfigError, match=rule):
        split_for(dataset(labels([10, 3])), KFOLD, 0)


def test_fewer_graphs_than_folds_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"be <= 4, the number of graphs, got 5"):
        k_folds(torch.zeros(4), 0, 5, 0, 0)
