"""NumPy archives: what is read, and one line for each rule that can be broken."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from dqrun.config import DataConfig, DatasetConfig
from dqrun.data.dataset import GraphDataset, load_dataset
from dqrun.errors import DataError

MakeConfig = Callable[..., DatasetConfig]
Arrays = dict[str, NDArray[Any]]
Load = Callable[..., GraphDataset]


def single_array() -> bytes:
    """The content of a .npy file."""
    file = io.BytesIO()
    np.save(file, np.zeros(3))
    return file.getvalue()


def graphs() -> Arrays:
    """Graphs 0 = {nodes 0, 2} and 1 = {node 1}, and two of one node."""
    return {
        "edge_index": np.array([[1, 0, 2], [1, 2, 0]]),
        "y": np.array([0, 1, 1, 0]),
        "batch": np.array([0, 1, 0, 2, 3]),
        "x": np.arange(10.0).reshape(5, 2),
        "train": np.array([3, 0]),
        "val": np.array([1]),
        "test": np.array([2]),
    }


@pytest.fixture
def load(tmp_path: Path, dataset_config: MakeConfig) -> Load:
    def make(arrays: Arrays, task: str = "graph_classification") -> GraphDataset:
        np.savez(tmp_path / "data.npz", **arrays)
        return load_dataset(dataset_config(name="mine", source="folder", path=str(tmp_path), task=task), DataConfig())

    return make


def test_nodes_are_grouped_by_graph(load: Load) -> None:
    dataset = load(graphs())
    assert dataset.packed.node_ptr.tolist() == [0, 2, 3, 4, 5]
    assert dataset.x is not None and dataset.x[:, 0].tolist() == [0, 4, 2, 6, 8] and dataset.x.dtype == torch.float32
    graph, _ = dataset.packed.gather(torch.arange(4))
    assert (graph.csr.col.tolist(), graph.csr.row.tolist()) == ([1, 0, 2], [0, 1, 2])
    assert dataset.official is not None and dataset.official.train.tolist() == [3, 0]


def test_a_node_task_has_one_graph(load: Load) -> None:
    arrays = {"edge_index": np.array([[0], [2]], dtype=np.int32), "y": np.array([1, 0, 1], dtype=np.uint8)}
    dataset = load(arrays, "node_classification")
    assert (dataset.num_graphs, dataset.num_nodes, dataset.num_edges) == (1, 3, 1)
    assert dataset.y.tolist() == [1, 0, 1] and dataset.y.dtype == torch.int64
    assert dataset.official is None and dataset.x is None


def test_targets_of_a_regression_are_floats(load: Load) -> None:
    dataset = load(graphs() | {"y": np.array([0.5, 1, -2, 3])}, "graph_regression")
    assert dataset.y.tolist() == [0.5, 1, -2, 3] and dataset.y.dtype == torch.float32


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("edge_index", np.array([[1, 0], [1, 5]]), r"edge_index\[1\]: an edge must join nodes 0\.\.4, got \[0 5\]"),
        ("edge_index", np.array([[1, 0], [1, 1]]), r"edge_index\[1\]: an edge must join nodes of one graph"),
        ("edge_index", np.array([[1, -1], [1, 1]]), r"edge_index\[1\]: must be >= 0, got -1"),
        ("edge_index", np.array([[0.0], [2.0]]), r"edge_index must hold integers, got float64"),
        ("edge_index", np.zeros((3, 2), dtype=int), r"edge_index must have shape \[2, E\], got \[3, 2\]"),
        ("edge_index", np.zeros(3, dtype=int), r"edge_index must hold numbers in 2 dimensions, got int64 with shape"),
        ("edge_index", None, r"array edge_index is missing"),
        ("y", np.array([0, 2, 2, 0]), r"y\[1\]: labels must be 0\.\.C-1 without a gap, got 2 but no 1"),
        ("y", np.array([0.0, np.nan, 1, 0]), r"y\[1\]: label must be a finite number, got nan"),
        ("y", np.array(["a", "b", "c", "d"]), r"y: it holds <U1, not numbers"),
        ("y", np.array([], dtype=int), r"y\[0\]: no label is there"),
        ("y", np.array([0, 1, 1, 0, 1]), r"y\[4\]: the graph must have a node in batch"),
        ("batch", np.array([0, 1, 0, 2, 4]), r"batch\[4\]: must name one of the 4 graphs of y, got 4"),
        ("batch", None, r"array batch is missing"),
        ("x", np.full((5, 2), np.inf), r"x\[0, 0\] must be a finite number in float32, got inf"),
        ("x", np.zeros((4, 2)), r"x must have 5 rows, one per node, got 4"),
        ("train", np.array([1, 0]), r"val\[0\]: splits overlap: 1 is in train already"),
        ("train", np.array([9]), r"train\[0\]: must be in 0\.\.3, got 9"),
        ("train", np.array([], dtype=int), r"train must hold at least one id"),
        ("test", None, r"array test is missing"),
        ("labels", np.zeros(4), r"arrays must be among edge_index, y, .*, got labels"),
    ],
)
def test_a_broken_rule_is_named(name: str, value: NDArray[Any] | None, message: str, load: Load) -> None:
    arrays = {key: array for key, array in (graphs() | {name: value}).items() if array is not None}
    with pytest.raises(DataError, match=rf"data\.npz: {message}") as error:
        load(arrays)
    assert "\n" not in str(error.value)


def test_batch_of_a_node_task_has_an_element_per_node(load: Load) -> None:
    with pytest.raises(DataError, match=r"data\.npz: batch must have 4 elements, one per node, got 5"):
        load(graphs(), "node_classification")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no archive", b"text", single_array()])
def test_a_file_that_is_no_archive_is_named(content: bytes, tmp_path: Path, dataset_config: MakeConfig) -> None:
    (tmp_path / "data.npz").write_bytes(content)
    config = dataset_config(name="mine", source="folder", path=str(tmp_path))
    with pytest.raises(DataError, match=r"data\.npz: not a NumPy archive"):
        load_dataset(config, DataConfig())


def test_pickled_objects_are_never_loaded(load: Load) -> None:
    with pytest.raises(DataError, match="x: it holds objects, not numbers"):
        load(graphs() | {"x": np.array([{}], dtype=object)})
