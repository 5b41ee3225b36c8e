"""Graphs to predict: what each format gives, with the user's ids and labels, and what is refused."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch_geometric.data import Batch, Data

from dqrun.data.unlabelled import Unlabelled, is_graph_file, load_unlabelled
from dqrun.errors import DataError

EDGES = torch.tensor([[0, 3, 2, 1], [1, 2, 3, 0]])
GRAPHS, NODES = "graph_classification", "node_classification"


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., Unlabelled]:
    """Saves tensors, a dictionary or an object in the format of a suffix, then loads the file."""

    def load(content: Any, task: str = GRAPHS, suffix: str = ".safetensors") -> Unlabelled:
        path = tmp_path / f"g{suffix}"
        if suffix == ".safetensors":
            save_file({name: tensor.contiguous() for name, tensor in content.items()}, path)
        elif suffix == ".npz":
            np.savez(path, **content)
        else:
            torch.save(content, path)
        return load_unlabelled([path], task)

    return load


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., Path]:
    def write(**files: str) -> Path:
        (tmp_path / "f").mkdir()
        for name, text in files.items():
            (tmp_path / "f" / f"{name}.csv").write_text(text)
        return tmp_path / "f"

    return write


TWO = {"nodes": "graph,node,a\n7,20,1\n3,5,2\n7,10,3\n", "edges": "graph,source,target\n7,20,10\n"}


@pytest.mark.parametrize(
    ("graphs", "labels", "ids"),
    [
        ("graph,label\n3,9\n7,cat\n", ["9", "cat"], [3, 7]),
        ("graph,label,split\n3,,\n7,1,train\n", ["", "1"], [3, 7]),
        ("graph\n3\n7\n", None, [3, 7]),
        (None, None, [7, 3]),
    ],
)
def test_a_folder_keeps_the_users_ids_and_needs_no_labels(
    graphs: str | None, labels: list[str] | None, ids: list[int], folder: Callable[..., Path]
) -> None:
    found = load_unlabelled([folder(**TWO, **({} if graphs is None else {"graphs": graphs}))], GRAPHS)
    assert (found.graph_ids.tolist(), found.labels) == (ids, labels)
    by_graph = {7: [20, 10], 3: [5]}
    assert found.node_ids.tolist() == [node for graph in ids for node in by_graph[graph]]
    assert [ids[place] for place in found.graph_of_node] == [graph for graph in ids for _ in by_graph[graph]]
    x = {20: 1.0, 10: 3.0, 5: 2.0}
    assert found.dataset.x is not None and found.dataset.x.flatten().tolist() == [x[node] for node in found.node_ids]


@pytest.mark.parametrize(
    ("nodes", "labels"),
    [
        ("node,label,a\n4,1,0.5\n0,,0.25\n", ["1", ""]),
        ("node,a\n4,0.5\n0,0.25\n", None),
        ("node,split,a\n4,,0.5\n0,x,0.25\n", None),
    ],
)
def test_nodes_keep_their_ids_and_order(nodes: str, labels: list[str] | None, folder: Callable[..., Path]) -> None:
    found = load_unlabelled([folder(nodes=nodes, edges="source,target\n4,0\n")], NODES)
    assert (found.node_ids.tolist(), found.labels) == ([4, 0], labels)
    assert found.dataset.x is not None and found.dataset.x.tolist() == [[0.5], [0.25]]
    assert (found.dataset.packed.edges.col.tolist(), found.dataset.packed.edges.row.tolist()) == ([0], [1])


def test_an_archive_needs_neither_labels_nor_numbers_without_gaps(load: Callable[..., Unlabelled]) -> None:
    arrays = {"edge_index": EDGES.numpy(), "x": np.arange(8).reshape(4, 2)}
    found = load(arrays, suffix=".npz")
    assert (found.graph_ids.tolist(), found.labels, found.dataset.num_graphs) == ([0], None, 1)
    found = load(arrays | {"batch": np.array([10**15, 10**15, 3, 3])}, suffix=".npz")
    assert found.graph_ids.tolist() == [3, 10**15] and found.node_ids.tolist() == [2, 3, 0, 1]
    assert found.dataset.x is not None and found.dataset.x.tolist() == [[4, 5], [6, 7], [0, 1], [2, 3]]
    found = load(arrays | {"batch": np.array([0, 0, 1, 1]), "y": np.array([2, 0])}, suffix=".npz")
    assert found.labels == ["2", "0"]
    found = load(arrays | {"y": np.array([1, 0, 0, 7])}, NODES, suffix=".npz")
    assert found.labels == ["1", "0", "0", "7"]


@pytest.mark.parametrize(
    "batch", [[3, 3, 9, 9], [10**6, 10**6, 10**6 + 1, 10**6 + 1], [17000000017] * 2 + [17000000018] * 2]
)
def test_gaps_in_batch_make_no_graphs(batch: list[int], load: Callable[..., Unlabelled]) -> None:
    found = load({"edge_index": EDGES, "batch": torch.tensor(batch), "x": torch.randn(4, 2)})
    assert (found.dataset.num_graphs, found.graph_ids.tolist()) == (2, [batch[0], batch[-1]])


def test_edges_in_any_order_are_grouped_by_graph(load: Callable[..., Unlabelled]) -> None:
    x = torch.randn(4, 2)
    dataset = load({"edge_index": EDGES, "batch": torch.tensor([0, 0, 1, 1]), "x": x}).dataset
    assert dataset.num_graphs == 2 and dataset.x is not None and torch.equal(dataset.x, x)
    graph, _ = dataset.packed.gather(torch.tensor([1]))
    assert sorted(zip(graph.csr.col.tolist(), graph.csr.row.tolist(), strict=True)) == [(0, 1), (1, 0)]


@pytest.mark.parametrize("shape", [(4,), (4, 1)])
def test_one_integer_per_node_is_a_category_and_a_feature(
    shape: tuple[int, ...], load: Callable[..., Unlabelled]
) -> None:
    dataset = load({"edge_index": EDGES, "x": torch.arange(4).view(shape)}).dataset
    assert dataset.category is not None and dataset.category.tolist() == [0, 1, 2, 3]
    assert dataset.x is not None and dataset.x.tolist() == [[0], [1], [2], [3]]


def test_without_features_edges_say_how_many_nodes_there_are(load: Callable[..., Unlabelled]) -> None:
    assert load({"edge_index": EDGES}, NODES).dataset.num_nodes == 4
    with pytest.raises(DataError, match="x or batch must say how many nodes there are: edges name node 1000000000000"):
        load({"edge_index": torch.tensor([[10**12], [0]])})


def graph(nodes: int, **fields: Any) -> Data:
    ring = torch.arange(nodes)
    return Data(x=torch.full((nodes, 2), float(nodes)), edge_index=torch.stack([ring, ring.roll(1)]), **fields)


@pytest.mark.parametrize("suffix", [".pt", ".pth"])
def test_data_of_pyg_and_lists_and_batches_of_them(suffix: str, load: Callable[..., Unlabelled]) -> None:
    graphs = [graph(3, y=torch.tensor([1])), graph(2, y=torch.tensor([4]))]
    for content in (graphs, Batch.from_data_list(graphs), tuple(graphs)):
        found = load(content, suffix=suffix)
        assert (found.graph_ids.tolist(), found.labels) == ([0, 1], ["1", "4"])
        assert found.dataset.packed.node_ptr.tolist() == [0, 3, 5]
        assert found.dataset.packed.edge_ptr.tolist() == [0, 3, 5]
    found = load(graph(3, train_mask=torch.ones(3, dtype=torch.bool), y=torch.tensor([1, 0, 2])), NODES, suffix)
    assert (found.node_ids.tolist(), found.labels) == ([0, 1, 2], ["1", "0", "2"])
    assert load([Data(edge_index=EDGES, num_nodes=6)], suffix=suffix).dataset.num_nodes == 6


def test_half_precision_and_views(load: Callable[..., Unlabelled]) -> None:
    x = torch.randn(4, 6)
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        dataset = load({"edge_index": EDGES, "x": x[:, 1:3].to(dtype)}, suffix=".pt").dataset
        assert dataset.x is not None and torch.equal(dataset.x, x[:, 1:3].to(dtype).float())
    dataset = load({"edge_index": EDGES.t().contiguous().t(), "x": x[:, ::2]}, suffix=".pt").dataset
    assert dataset.x is not None and torch.equal(dataset.x, x[:, ::2])


def test_a_whole_run_of_files_of_one_graph(tmp_path: Path) -> None:
    edges, features = tmp_path / "edges.csv", tmp_path / "x.csv"
    edges.write_text("source,target,weight\n0,1,2\n\n1,0,3\n")
    features.write_text("a,b\n1,2\n3,4\n")
    found = load_unlabelled([edges, features], NODES)
    assert found.dataset.x is not None and found.dataset.x.tolist() == [[1, 2], [3, 4]]
    weight = found.dataset.packed.edge_weight
    assert weight is not None and weight.tolist() == [3, 2]
    np.save(tmp_path / "x.npy", np.array([5, 6]))
    found = load_unlabelled([edges, tmp_path / "x.npy"], NODES)
    assert found.dataset.category is not None and found.dataset.category.tolist() == [5, 6]


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"x": torch.zeros(4, 1)}, "must hold a tensor 'edge_index', got x"),
        ({"edge_index": EDGES.float()}, r"edge_index must hold integers in 2 dimensions, got torch\.float32"),
        ({"edge_index": EDGES.t()}, r"edge_index must be \[2, E\], got \[4, 2\]"),
        ({"edge_index": EDGES, "x": torch.zeros(3, 1)}, r"edge_index must name nodes in 0\.\.2, got 0\.\.3"),
        ({"edge_index": EDGES - 1, "x": torch.zeros(4, 1)}, r"edge_index must name nodes in 0\.\.3, got -1\.\.2"),
        ({"edge_index": EDGES, "x": torch.full((4, 1), torch.nan)}, r"x\[0, 0\] must be a finite number in float32"),
        ({"edge_index": EDGES, "x": torch.full((4, 1), 1e300, dtype=torch.float64)}, r"float32, got 1e\+300"),
        ({"edge_index": EDGES, "x": torch.zeros(4, 2, 2)}, r"x must be \[4, F\], a row per node, .*got \[4, 2, 2\]"),
        ({"edge_index": EDGES, "batch": torch.zeros(4)}, "batch must hold integers"),
        ({"edge_index": EDGES, "batch": torch.tensor([0, 1, 1, 1])}, "an edge must join nodes of one graph"),
        ({"edge_index": EDGES, "batch": torch.zeros(3, dtype=torch.int64)}, r"must name nodes in 0\.\.2"),
        ({"edge_index": EDGES[:, :0], "x": torch.zeros(0, 2)}, "must hold a node"),
    ],
)
def test_tensors_that_do_not_fit(tensors: dict[str, Tensor], message: str, load: Callable[..., Unlabelled]) -> None:
    with pytest.raises(DataError, match=message):
        load(tensors)


class Planted:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("zipped", [True, False])
def test_objects_that_would_run_code_are_refused_in_one_line(zipped: bool, tmp_path: Path) -> None:
    path, mark = tmp_path / "g.pt", tmp_path / "mark"
    for content in (Planted(mark), {"x": Planted(mark)}, [Data(x=Planted(mark))], torch.nn.Linear(1, 1)):
        torch.save(content, path, _use_new_zipfile_serialization=zipped)
        with pytest.raises(DataError, match=r"g\.pt: must hold tensors and nothing else: it asks for ") as error:
            load_unlabelled([path], GRAPHS)
        assert str(error.value).isprintable()
    assert not mark.exists()


def test_other_content_is_one_line(tmp_path: Path, load: Callable[..., Unlabelled]) -> None:
    for name in ("a.safetensors", "a.pt", "a.npz", "a.pth"):
        (tmp_path / name).write_text("text")
        with pytest.raises(
            DataError, match=rf"{name}: (must hold tensors and nothing else|not a NumPy archive)"
        ) as error:
            load_unlabelled([tmp_path / name], GRAPHS)
        assert str(error.value).isprintable()
    for content, message in (
        (torch.zeros(3), "a Data, a list of Data or a dictionary of tensors was expected"),
        ({"edge_index": EDGES, "x": torch.eye(4).to_sparse()}, r"a tensor is sparse: store it with \.to_dense"),
        ([graph(3), graph(0)], "graph 1: must have a node"),
        ([graph(3), Data(edge_index=EDGES)], "equally many features of one kind, or none"),
    ):
        with pytest.raises(DataError, match=message):
            load(content, suffix=".pt")
    with pytest.raises(DataError, match=r"nowhere\.pt: no such file or folder"):
        load_unlabelled([tmp_path / "nowhere.pt"], GRAPHS)
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(DataError, match=r"a\.txt: must be a folder or a file that ends with \.safetensors"):
        load_unlabelled([tmp_path / "a.txt"], GRAPHS)


def test_tables_that_do_not_fit(tmp_path: Path) -> None:
    edges = tmp_path / "edges.csv"
    edges.write_text("source,target\n0,x\n")
    np.save(tmp_path / "x.npy", np.zeros((2, 1)))
    with pytest.raises(DataError, match=r"edges\.csv: line 2: target must be an integer, got x"):
        load_unlabelled([edges, tmp_path / "x.npy"], GRAPHS)
    edges.write_text("source,target\n0,1\n")
    np.save(tmp_path / "x.npy", np.array(["a"]))
    with pytest.raises(DataError, match=r"x\.npy: it holds <U1, not numbers"):
        load_unlabelled([edges, tmp_path / "x.npy"], GRAPHS)
    with pytest.raises(DataError, match=r"one graph must be given as edges\.csv and features"):
        load_unlabelled([edges], GRAPHS)


def test_names_of_graph_files() -> None:
    assert is_graph_file("a/b.CSV") and is_graph_file("g.pt") and is_graph_file("d.npz") and not is_graph_file("cora")
