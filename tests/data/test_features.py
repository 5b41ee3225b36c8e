"""Features: which kind is chosen, and that statistics come from the training part."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from dqrun.config import DatasetConfig
from dqrun.data.dataset import GraphDataset
from dqrun.data.features import Categories, FeatureRule, Features, GivenFeatures, OneHotDegree
from dqrun.data.packed import PackedGraphs
from dqrun.data.splits import Split
from dqrun.errors import ConfigError, DataError

MakeConfig = Callable[..., DatasetConfig]
SPLIT = Split(torch.tensor([0]), torch.tensor([1]), torch.tensor([2]))
ALL = torch.arange(7)


def features_of(dataset: GraphDataset, split: Split, config: DatasetConfig) -> Features:
    return FeatureRule.fit(dataset, split, config).apply(dataset)


@pytest.fixture
def stars() -> GraphDataset:
    """Three graphs of 2, 3 and 2 nodes whose first node has in-degrees 1, 4 and 0."""
    edges = torch.tensor([[1, 1, 2, 1, 2], [0, 0, 0, 0, 0]])
    packed = PackedGraphs.from_edges(edges, torch.tensor([2, 3, 2]), torch.tensor([1, 4, 0]))
    return GraphDataset("stars", "graph_classification", packed, torch.tensor([0, 1, 0]), 2)


def config(make: MakeConfig, features: str, limit: int = 1000, **fields: object) -> DatasetConfig:
    return make(name="stars", source="folder", features=features, max_one_hot_degree=limit, **fields)


def test_degrees_are_one_hot_up_to_the_limit(stars: GraphDataset, dataset_config: MakeConfig) -> None:
    features = features_of(stars, SPLIT, config(dataset_config, "degree", 4))
    assert isinstance(features, OneHotDegree)
    assert (features.in_channels, features.num_categories) == (5, 0)
    x = features.gather(ALL)
    assert x.dtype == torch.float32
    assert x.argmax(1).tolist() == [1, 0, 4, 0, 0, 0, 0] and x.sum(1).eq(1).all()


def test_larger_degrees_are_standardised_by_the_training_nodes(stars: GraphDataset, dataset_config: MakeConfig) -> None:
    features = features_of(stars, SPLIT, config(dataset_config, "degree", 3))
    assert features.in_channels == 1
    seen = torch.tensor([1.0, 0.0])
    expected = (torch.tensor([1.0, 0, 4, 0, 0, 0, 0]) - seen.mean()) / seen.std()
    torch.testing.assert_close(features.gather(ALL), expected.unsqueeze(1))


def test_statistics_of_a_node_task_come_from_its_training_nodes(
    stars: GraphDataset, dataset_config: MakeConfig
) -> None:
    nodes = replace(stars, task="node_classification", y=torch.zeros(7, dtype=torch.int64))
    split = Split(torch.tensor([0, 2]), torch.tensor([1]), torch.tensor([3]))
    x = features_of(nodes, split, config(dataset_config, "degree", 0)).gather(torch.tensor([0, 2]))
    torch.testing.assert_close(x.flatten(), torch.tensor([-(0.5**0.5), 0.5**0.5]))


@pytest.mark.parametrize("train", [[2], [0, 1, 2]])
def test_a_constant_degree_is_only_centred(train: list[int], dataset_config: MakeConfig) -> None:
    packed = PackedGraphs.from_edges(torch.tensor([[0], [0]]), torch.tensor([1, 1, 1]), torch.tensor([1, 0, 0]))
    lonely = GraphDataset("lonely", "graph_classification", packed, torch.tensor([0, 1, 0]), 2)
    split = Split(torch.tensor(train), torch.tensor([0]), torch.tensor([1]))
    x = features_of(lonely, split, config(dataset_config, "degree", 0)).gather(torch.arange(3))
    # The largest in-degree is 0, and even a limit of 0 covers it.
    assert x.tolist() == [[1.0], [1.0], [1.0]]


def test_equal_degrees_in_training_are_only_centred(stars: GraphDataset, dataset_config: MakeConfig) -> None:
    split = Split(torch.tensor([2]), torch.tensor([0]), torch.tensor([1]))
    x = features_of(stars, split, config(dataset_config, "degree", 0)).gather(ALL)
    assert x.flatten().tolist() == [1, 0, 4, 0, 0, 0, 0]


def test_rows_are_normalised_to_sum_one_and_zero_rows_stay(stars: GraphDataset, dataset_config: MakeConfig) -> None:
    x = torch.zeros(7, 2)
    x[0] = torch.tensor([1.0, 3.0])
    x[1] = torch.tensor([0.2, 0.2])
    given = replace(stars, x=x)
    plain = features_of(given, SPLIT, config(dataset_config, "given"))
    assert torch.equal(plain.gather(ALL), x)
    scaled = features_of(given, SPLIT, config(dataset_config, "given", normalize_rows=True)).gather(ALL)
    torch.testing.assert_close(scaled[:3], torch.tensor([[0.25, 0.75], [0.5, 0.5], [0.0, 0.0]]))


def test_auto_takes_what_is_there(stars: GraphDataset, dataset_config: MakeConfig) -> None:
    auto = config(dataset_config, "auto")
    category = torch.tensor([0, 1, 2, 3, 0, 1, 2])
    assert isinstance(features_of(stars, SPLIT, auto), OneHotDegree)
    assert isinstance(features_of(replace(stars, x=torch.ones(7, 2)), SPLIT, auto), GivenFeatures)
    categories = features_of(replace(stars, category=category), SPLIT, auto)
    assert isinstance(categories, Categories)
    assert (categories.in_channels, categories.num_categories) == (0, 4)
    assert torch.equal(categories.gather(torch.tensor([3, 1])), torch.tensor([3, 1]))


@pytest.mark.parametrize("features", ["given", "category"])
def test_features_that_are_not_there_are_an_error(
    features: str, stars: GraphDataset, dataset_config: MakeConfig
) -> None:
    with pytest.raises(ConfigError, match=rf"dataset\.features must be .*degree: stars has no .*, got '{features}'"):
        features_of(stars, SPLIT, config(dataset_config, features))


def test_statistics_of_all_degrees(stars: GraphDataset, dataset_config: MakeConfig) -> None:
    """As in the released Degree-Quant code: mean and unbiased deviation of all data, held-out parts included."""
    options = replace(config(dataset_config, "degree", 0), degree_statistics="all")
    rule = FeatureRule.fit(stars, SPLIT, options)
    degree = stars.packed.in_degree.double()
    assert (rule.mean, rule.divisor) == pytest.approx((degree.mean().item(), degree.std().item()))
    assert rule.mean != FeatureRule.fit(stars, SPLIT, config(dataset_config, "degree", 0)).mean


def test_a_rule_carries_training_statistics_to_other_data(stars: GraphDataset, dataset_config: MakeConfig) -> None:
    rule = FeatureRule.fit(stars, SPLIT, config(dataset_config, "degree", 0))
    assert (rule.kind, rule.mean) == ("scaled_degree", 0.5)
    packed = PackedGraphs.from_edges(torch.tensor([[0], [1]]), torch.tensor([2]), torch.tensor([1]))
    other = replace(stars, packed=packed)
    expected = (torch.tensor([[0.0], [1.0]]) - 0.5) / 0.5**0.5
    torch.testing.assert_close(rule.apply(other).gather(torch.arange(2)), expected)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (FeatureRule("one_hot_degree", 4), "in-degrees must be at most 3, the largest of training, got 4 in stars"),
        (FeatureRule("category", 2), "stars has no categories"),
        (FeatureRule("given", 3), "stars must have 3 float features per node, got none"),
    ],
)
def test_other_data_that_does_not_fit_is_refused(stars: GraphDataset, rule: FeatureRule, message: str) -> None:
    with pytest.raises(DataError, match=message):
        rule.apply(stars)


def test_unknown_categories_are_refused(stars: GraphDataset) -> None:
    known = replace(stars, category=torch.tensor([0, 1, 2, 0, 0, 0, 0]))
    with pytest.raises(DataError, match=r"categories of stars must be in 0\.\.1, got 0\.\.2"):
        FeatureRule("category", 2).apply(known)
