"""`GraphArrays`: tensors that do not fit together are refused whoever made them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from dqrun.data.arrays import GraphArrays
from dqrun.errors import DataError

IDS = torch.tensor
GOOD = GraphArrays(
    edge_index=IDS([[0, 1, 0], [1, 0, 0]]),
    node_counts=IDS([2, 1]),
    edge_counts=IDS([2, 1]),
    y=IDS([1, 0]),
    num_classes=2,
    x=torch.zeros(3, 2),
    category=IDS([0, 5, 1]),
    train=IDS([0]),
    val=IDS([1]),
    test=IDS([], dtype=torch.int64),
)


def test_whole_arrays_are_packed() -> None:
    dataset = GOOD.dataset("mine", "graph_classification", "told")
    assert (dataset.num_graphs, dataset.num_nodes, dataset.num_edges, dataset.note) == (2, 3, 3, "told")
    assert dataset.official is not None and dataset.official.val.tolist() == [1]
    assert replace(GOOD, warnings=("a", "b")).dataset("m", "t", "told").note == "told; a; b"


@pytest.mark.parametrize(
    "change",
    [
        {"edge_index": IDS([[0, 1, 0], [1, 0, 0]], dtype=torch.int32)},
        {"edge_index": IDS([[0, 1, 0]])},
        {"edge_index": IDS([[0, 2, 0], [1, 0, 0]])},
        {"edge_index": IDS([[0, -1, 0], [1, 0, 0]])},
        {"node_counts": IDS([3])},
        {"node_counts": IDS([4, -1])},
        {"edge_counts": IDS([2, 2])},
        {"y": IDS([1, 2])},
        {"y": IDS([-1, 0])},
        {"y": IDS([1, 0, 1, 0])},
        {"y": torch.tensor([1.0, 0.0])},
        {"num_classes": 0},
        {"num_classes": 0, "y": torch.tensor([1.0, torch.nan])},
        {"x": torch.full((3, 2), torch.inf)},
        {"x": torch.zeros(2, 2)},
        {"x": torch.zeros(3, 2, dtype=torch.float64)},
        {"category": IDS([0, -5, 1])},
        {"category": IDS([0, 5])},
        {"val": None},
        {"val": IDS([0])},
        {"val": IDS([2])},
        {"test": IDS([-1])},
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(DataError):
        replace(GOOD, **change).dataset("mine", "graph_classification")


@pytest.mark.parametrize("change", [{"y": IDS([0, 1])}, {"x": None}, {"num_classes": 3}, {"warnings": ("a",)}])
def test_same_as_sees_each_field(change: dict[str, Any]) -> None:
    assert GOOD.same_as(replace(GOOD)) and not GOOD.same_as(replace(GOOD, **change))
