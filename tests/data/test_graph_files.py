"""Graph files without targets: what they give, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch_geometric.data import Data

from dqrun.data.graph_files import is_graph_file, read_graph_files
from dqrun.errors import DataError

Save = Callable[..., Path]
EDGES = torch.tensor([[0, 3, 2, 1], [1, 2, 3, 0]])


@pytest.fixture
def save(tmp_path: Path) -> Save:
    def save(**tensors: Tensor) -> Path:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, tmp_path / "g.safetensors")
        return tmp_path / "g.safetensors"

    return save


def test_edges_in_any_order_are_grouped_by_graph(save: Save) -> None:
    x = torch.randn(4, 2)
    dataset = read_graph_files([save(edge_index=EDGES, batch=torch.tensor([0, 0, 1, 1]), x=x)], "graph_classification")
    assert dataset.num_graphs == 2 and torch.equal(dataset.x, x)
    graph, _ = dataset.packed.gather(torch.tensor([1]))
    assert sorted(zip(graph.csr.col.tolist(), graph.csr.row.tolist(), strict=True)) == [(0, 1), (1, 0)]


@pytest.mark.parametrize("shape", [(4,), (4, 1)])
def test_integers_are_categories(save: Save, shape: tuple[int, ...]) -> None:
    dataset = read_graph_files([save(edge_index=EDGES, x=torch.arange(4).view(shape))], "graph_regression")
    assert dataset.x is None and dataset.category is not None and dataset.category.tolist() == [0, 1, 2, 3]


def test_without_features_edges_say_how_many_nodes_there_are(save: Save) -> None:
    assert read_graph_files([save(edge_index=EDGES)], "node_classification").num_nodes == 4


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"x": torch.zeros(4, 1)}, "must hold a tensor 'edge_index', got x"),
        ({"edge_index": EDGES.float()}, r"edge_index must be integers, got torch\.float32"),
        ({"edge_index": EDGES.t()}, r"edge_index must be \[2, E\], got \[4, 2\]"),
        ({"edge_index": EDGES, "x": torch.zeros(3, 1)}, r"edge_index must name nodes in 0\.\.2, got 0\.\.3"),
        ({"edge_index": EDGES, "x": torch.full((4, 1), torch.nan)}, r"x must be \[N, F\] and finite"),
        ({"edge_index": EDGES, "x": torch.zeros(4, 2, dtype=torch.int64)}, r"integer x must be \[N\] or \[N, 1\]"),
        ({"edge_index": EDGES, "batch": torch.tensor([1, 0, 0, 0])}, "batch must be .* ascending"),
        ({"edge_index": EDGES, "batch": torch.tensor([0, 1, 1, 1])}, "an edge must join nodes of one graph"),
    ],
)
def test_tensors_that_do_not_fit(save: Save, tensors: dict[str, Tensor], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_graph_files([save(**tensors)], "graph_classification")


def test_files_that_are_no_tensors(tmp_path: Path) -> None:
    for name in ("a.safetensors", "a.pt"):
        (tmp_path / name).write_text("text")
        with pytest.raises(DataError, match="must be a readable file of plain tensors") as error:
            read_graph_files([tmp_path / name], "graph_classification")
        assert "\n" not in str(error.value)
    torch.save(Data(x=torch.zeros(1, 1)), tmp_path / "data.pt")  # a pickled object is not opened
    with pytest.raises(DataError, match="must be a readable file of plain tensors"):
        read_graph_files([tmp_path / "data.pt"], "graph_classification")
    torch.save(torch.zeros(3), tmp_path / "tensor.pt")
    with pytest.raises(DataError, match="must hold a dictionary of tensors, got Tensor"):
        read_graph_files([tmp_path / "tensor.pt"], "graph_classification")


def test_tables_that_do_not_fit(tmp_path: Path) -> None:
    edges = tmp_path / "edges.csv"
    edges.write_text("source,target\n0,x\n")
    with pytest.raises(DataError, match=r"edges\.csv: line 2: target must be a finite number, got x"):
        read_graph_files([edges, tmp_path / "x.npy"], "graph_classification")
    edges.write_text("source,target\n0,1\n")
    with pytest.raises(DataError, match=r"one graph must be given as edges\.csv and features"):
        read_graph_files([edges], "graph_classification")
    np.save(tmp_path / "x.npy", np.array(["a"]))
    with pytest.raises(DataError, match=r"x\.npy: must hold numbers"):
        read_graph_files([edges, tmp_path / "x.npy"], "graph_classification")


def test_names_of_graph_files() -> None:
    assert is_graph_file("a/b.CSV") and is_graph_file("g.pt") and not is_graph_file("cora")
