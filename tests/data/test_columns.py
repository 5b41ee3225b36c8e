"""Columns of categories: they enter a network as zeros and ones, which is the sum of an embedding per column."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from dqrun.config import DatasetConfig
from dqrun.data.arrays import GraphArrays
from dqrun.data.columns import checked_columns, column_sizes, multi_hot
from dqrun.data.dataset import GraphDataset
from dqrun.data.features import FeatureRule
from dqrun.data.splits import Split
from dqrun.data.trial_data import TrialData
from dqrun.errors import DataError

COLUMNS = torch.tensor([[2, 0], [0, 1], [1, 1], [0, 0]])
BONDS = torch.tensor([[0, 3], [1, 0], [1, 2]])
SPLIT = Split(torch.tensor([0]), torch.tensor([1]), torch.tensor([1]))
CONFIG = DatasetConfig("toy", "folder", "graph_regression", features="auto", path="x")


@pytest.fixture
def dataset() -> GraphDataset:
    arrays = GraphArrays(
        edge_index=torch.tensor([[0, 1, 0], [1, 0, 1]]),
        node_counts=torch.tensor([2, 2]),
        edge_counts=torch.tensor([2, 1]),
        y=torch.tensor([0.5, 1.0]),
        num_classes=0,
        category=COLUMNS,
        edge_attr=BONDS,
    )
    return arrays.dataset("toy", "graph_regression")


def test_the_product_with_a_matrix_is_the_sum_of_the_embeddings() -> None:
    embeddings = [nn.Embedding(size, 3) for size in column_sizes(COLUMNS)]
    matrix = torch.cat([each.weight for each in embeddings])
    expected = sum(each(COLUMNS[:, k]) for k, each in enumerate(embeddings))
    assert torch.allclose(multi_hot(COLUMNS, column_sizes(COLUMNS)) @ matrix, expected)


def test_batches_have_zeros_and_ones_for_nodes_and_edges(dataset: GraphDataset) -> None:
    data = TrialData.build(dataset, SPLIT, CONFIG, 2, self_loops=False, edge_features=True)
    assert data.shapes == {
        "in_channels": 5, "num_categories": 0, "out_channels": 1, "edge_channels": 6, "edge_categories": 0,
        "num_nodes": 0,
    }  # fmt: skip
    (batch,) = data.batches("train")
    assert batch.x.tolist() == [[0, 0, 1, 1, 0], [1, 0, 0, 0, 1]]  # type: ignore[union-attr]
    assert batch.graph.edge_attr is not None
    assert batch.graph.edge_attr.tolist() == [[0, 1, 1, 0, 0, 0], [1, 0, 0, 0, 0, 1]]


def test_layers_without_edge_features_get_none(dataset: GraphDataset) -> None:
    rule = TrialData.build(dataset, SPLIT, CONFIG, 2, self_loops=True).rule
    assert rule.edge_columns == () and rule.edge_channels == 0 and rule.columns == (3, 2)


def test_whole_numbers_of_another_file_are_categories_too(dataset: GraphDataset) -> None:
    rule = FeatureRule.fit(dataset, SPLIT, CONFIG)
    floats = replace(dataset, category=None, x=COLUMNS.float())
    every = torch.arange(4)
    assert torch.equal(rule.apply(floats).gather(every), rule.apply(dataset).gather(every))


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (torch.tensor([[0, 2]]), r"x: column 1 must hold categories in 0\.\.1, got 2 in row 0"),
        (torch.tensor([[0.0, 0.0], [0.5, 0.0]]), r"x: column 0 must hold categories in 0\.\.2, got 0\.5 in row 1"),
        (torch.tensor([[-1, 0]]), "got -1 in row 0"),
        (torch.tensor([[0]]), r"x must be 2 columns of categories, got \[1, 1\]"),
        (None, "x must be 2 columns of categories, got none"),
    ],
)
def test_categories_that_training_did_not_have_are_refused(values: torch.Tensor | None, told: str) -> None:
    with pytest.raises(DataError, match=told):
        checked_columns(values, (3, 2), "x")
