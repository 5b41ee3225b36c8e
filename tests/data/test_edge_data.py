"""Weights and features of edges on their way from raw data to a batch; packing is held against PyG."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch_geometric.data import Batch, Data
from torch_geometric.utils import add_remaining_self_loops, add_self_loops, remove_self_loops

from dqrun.config import DataConfig, DatasetConfig
from dqrun.data.arrays import GraphArrays
from dqrun.data.cache import Cached, read_cache, write_cache
from dqrun.data.dataset import GraphDataset, load_dataset
from dqrun.data.features import FeatureRule
from dqrun.data.fingerprint import data_fingerprint
from dqrun.data.packed import PackedGraphs
from dqrun.data.splits import Split
from dqrun.data.trial_data import TrialData
from dqrun.data.unlabelled import load_unlabelled
from dqrun.errors import DataError
from dqrun.graphs import Graph

MakeConfig = Callable[..., DatasetConfig]
RawGraph = tuple[int, list[tuple[int, int, int]]]  # nodes; source, target and a value of each edge


@st.composite
def raw_graphs(draw: st.DrawFn) -> RawGraph:
    nodes = draw(st.integers(1, 5))
    ends = st.integers(0, nodes - 1)
    return nodes, draw(st.lists(st.tuples(ends, ends, st.integers(0, 9)), max_size=10))


datasets = st.lists(raw_graphs(), min_size=1, max_size=4)


def columns(edges: list[tuple[int, int, int]]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """edge_index, weights and features of edges."""
    table = torch.tensor(edges, dtype=torch.int64).reshape(-1, 3)
    value = table[:, 2].float()
    return table[:, :2].t().contiguous(), value / 4, torch.stack([value, -value], dim=1)


def pack(graphs: list[RawGraph]) -> PackedGraphs:
    edge_index, weight, attr = columns([edge for _, edges in graphs for edge in edges])
    counts = torch.tensor([nodes for nodes, _ in graphs]), torch.tensor([len(edges) for _, edges in graphs])
    return PackedGraphs.from_edges(edge_index, *counts, weight, attr)


def collate(graphs: list[RawGraph]) -> Data:
    data = []
    for nodes, edges in graphs:
        edge_index, weight, attr = columns(edges)
        data.append(Data(edge_index=edge_index, edge_weight=weight, edge_attr=attr, num_nodes=nodes))
    return Batch.from_data_list(data)


def listed(graph: Graph) -> torch.Tensor:
    """Source, target, weight and features of each edge, in the order of the CSR; float32 [E, 5]."""
    assert graph.edge_weight is not None and graph.edge_attr is not None
    return torch.cat([torch.stack([graph.csr.col, graph.csr.row, graph.edge_weight], dim=1), graph.edge_attr], dim=1)


def expected(edge_index: torch.Tensor, weight: torch.Tensor, attr: torch.Tensor) -> torch.Tensor:
    order = torch.sort(edge_index[1], stable=True).indices
    return torch.cat([torch.stack([*edge_index, weight], dim=1), attr], dim=1)[order]


@given(datasets, st.data())
@settings(max_examples=50)
def test_a_batch_has_the_edge_data_that_pyg_collates(graphs: list[RawGraph], data: st.DataObject) -> None:
    ids = data.draw(st.lists(st.integers(0, len(graphs) - 1), min_size=1, max_size=5))
    graph, _ = pack(graphs).gather(torch.tensor(ids))
    batch = collate([graphs[i] for i in ids])
    assert torch.equal(listed(graph), expected(batch.edge_index, batch.edge_weight, batch.edge_attr))


@given(datasets)
@settings(max_examples=50)
def test_self_loops_have_the_weights_and_features_that_pyg_gives_them(graphs: list[RawGraph]) -> None:
    graph, _ = pack(graphs).with_self_loops().gather(torch.arange(len(graphs)))
    batch = collate(graphs)
    nodes = batch.num_nodes
    with_weights = add_remaining_self_loops(batch.edge_index, batch.edge_weight, 1.0, nodes)
    kept = remove_self_loops(batch.edge_index, batch.edge_attr)
    edge_index, attr = add_self_loops(*kept, fill_value="mean", num_nodes=nodes)
    assert torch.equal(with_weights[0], edge_index)
    torch.testing.assert_close(listed(graph), expected(edge_index, with_weights[1], attr))


def test_categories_are_gathered_and_loops_have_none() -> None:
    packed = PackedGraphs.from_edges(
        torch.tensor([[0, 1, 0], [1, 0, 1]]), torch.tensor([2, 2]), torch.tensor([2, 1]), None, torch.tensor([4, 5, 6])
    )
    graph, _ = packed.gather(torch.tensor([1, 0]))
    assert graph.edge_attr is not None and graph.edge_attr.tolist() == [6, 5, 4]
    assert packed.with_self_loops().edge_attr is None and packed.edge_weight is None


def test_edge_data_that_is_not_wanted_is_left_out() -> None:
    packed = pack([(2, [(0, 1, 3), (1, 0, 2)])])
    assert packed.with_edge_data(weights=True, features=True) is packed
    without = packed.with_edge_data(weights=True, features=False)
    assert without.edge_attr is None and without.edge_weight is packed.edge_weight
    assert packed.with_edge_data(weights=False, features=True).edge_weight is None


def dataset() -> GraphDataset:
    edges = [(0, 1, 3), (1, 0, 2)]
    return GraphDataset(
        "toy", "graph_classification", pack([(2, edges)] * 6), torch.arange(6) % 2, 2, torch.ones(12, 1)
    )


def test_a_trial_reads_what_its_layers_read(dataset_config: MakeConfig) -> None:
    config = dataset_config(features="given")
    split = Split(torch.arange(2), torch.arange(2, 4), torch.arange(4, 6))
    weighted = TrialData.build(dataset(), split, config, 2, True, edge_weights=True)
    (graph,) = [batch.graph for batch in weighted.batches("test")]
    assert graph.edge_weight is not None and graph.edge_weight.numel() == 8 and graph.edge_attr is None
    assert weighted.edge_channels == weighted.edge_categories == 0 and weighted.rule.edge_weights
    featured = TrialData.build(dataset(), split, config, 2, False, edge_features=True)
    (graph,) = [batch.graph for batch in featured.batches("test")]
    assert graph.edge_weight is None and graph.edge_attr is not None and featured.edge_channels == 2
    plain = TrialData.build(dataset(), split, config, 2, True)
    (graph,) = [batch.graph for batch in plain.batches("test")]
    assert graph.edge_weight is None and graph.edge_attr is None


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (FeatureRule("given", 1, edge_weights=True), "toy must have edge weights, as the training data had"),
        (FeatureRule("given", 1, edge_channels=2), "toy must have 2 float features per edge, got categories"),
        (FeatureRule("given", 1, edge_categories=2), r"edge categories of toy must be in 0\.\.1, got 3"),
    ],
)
def test_other_data_without_the_edge_data_of_training_is_refused(rule: FeatureRule, message: str) -> None:
    edges = torch.tensor([[0, 1], [1, 0]])
    packed = PackedGraphs.from_edges(edges, torch.tensor([2]), torch.tensor([2]), None, torch.tensor([0, 3]))
    other = GraphDataset("toy", "graph_classification", packed, torch.zeros(1, dtype=torch.int64), 2, torch.ones(2, 1))
    with pytest.raises(DataError, match=message):
        rule.structure(other, self_loops=False)


def test_edge_data_counts_in_the_fingerprint_where_it_is_there() -> None:
    data = dataset()
    variants = [
        replace(data, packed=data.packed.with_edge_data(weights=weights, features=features))
        for weights in (True, False)
        for features in (True, False)
    ]
    heavier = replace(data, packed=replace(data.packed, edge_weight=data.packed.edge_weight + 1))  # type: ignore[operator]
    assert len({data_fingerprint(each) for each in [*variants, heavier]}) == 5


def test_the_cache_keeps_edge_data(tmp_path: Path) -> None:
    edges, weight, attr = columns([(0, 1, 3), (1, 0, 2)])
    counts = torch.tensor([2]), torch.tensor([2])
    arrays = GraphArrays(edges, *counts, torch.zeros(1), 0, edge_weight=weight, edge_attr=attr)
    write_cache(tmp_path / "a", Cached({}, arrays))
    found = read_cache(tmp_path / "a")
    assert found is not None and found.arrays.same_as(arrays)
    assert not found.arrays.same_as(replace(arrays, edge_weight=weight + 1))


FOLDER = {
    "graphs.csv": "graph,label\n0,0\n1,1\n",
    "nodes.csv": "graph,node,mass\n1,0,1.5\n0,0,2.5\n0,1,3.5\n",
    "edges.csv": "length,graph,source,weight,target,kind\n2.5,1,0,0.5,0,1\n3.5,0,1,2,0,7\n4.5,0,0,0,1,8\n",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in FOLDER.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def load(folder: Path, dataset_config: MakeConfig) -> GraphDataset:
    return load_dataset(dataset_config(name="own", source="folder", features="auto", path=str(folder)), DataConfig())


def test_tables_and_archives_give_the_same_edge_data(folder: Path, dataset_config: MakeConfig, tmp_path: Path) -> None:
    packed = load(folder, dataset_config).packed
    graph, _ = packed.gather(torch.tensor([0, 1]))
    assert listed(graph).tolist() == [[1, 0, 2, 3.5, 7], [0, 1, 0, 4.5, 8], [2, 2, 0.5, 2.5, 1]]
    archive = tmp_path / "archive"
    archive.mkdir()
    edge_index = np.array([[0, 2, 1], [0, 1, 2]])
    attr, weight = np.array([[2.5, 1], [3.5, 7], [4.5, 8]]), np.array([0.5, 2, 0])
    arrays = {"edge_index": edge_index, "y": np.array([0, 1]), "batch": np.array([1, 0, 0])}
    arrays |= {"x": np.array([[1.5], [2.5], [3.5]]), "edge_weight": weight, "edge_attr": attr}
    np.savez(archive / "data.npz", **arrays)
    assert data_fingerprint(load(archive, dataset_config)) == data_fingerprint(load(folder, dataset_config))
    arrays["edge_attr"] = np.array([1, 7, 8])
    np.savez(archive / "data.npz", **arrays)
    attr_read = load(archive, dataset_config).packed.edge_attr
    assert attr_read is not None and attr_read.dtype == torch.int64 and attr_read.tolist() == [7, 8, 1]


def test_graphs_to_predict_have_edge_data(folder: Path) -> None:
    for path in (folder / "x.safetensors", folder / "x.pt"):
        tensors = {
            "edge_index": torch.tensor([[0, 1], [1, 0]]),
            "edge_weight": torch.tensor([2.0, 3.0]),
            "edge_attr": torch.tensor([[0.5], [1.5]]),
        }
        save_file(tensors, path) if path.suffix != ".pt" else torch.save([Data(**tensors)] * 2, path)
        packed = load_unlabelled([path], "graph_classification").dataset.packed
        assert packed.edge_weight is not None and packed.edge_attr is not None
        assert packed.edge_weight[:2].tolist() == [3, 2] and packed.edge_attr[:2].tolist() == [[1.5], [0.5]]
    packed = load_unlabelled([folder], "graph_classification").dataset.packed
    assert packed.edge_weight is not None and packed.edge_weight.tolist() == [2, 0, 0.5]
    del tensors["edge_attr"]
    torch.save([Data(**tensors), Data(edge_index=tensors["edge_index"])], folder / "x.pt")
    with pytest.raises(DataError, match="all graphs must have edge_weight of one kind and width, or none"):
        load_unlabelled([folder / "x.pt"], "graph_classification")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (",2,0,7", ",-2,0,7", r"edges\.csv: line 3: weight must be >= 0, got -2"),
        (",2,0,7", ",inf,0,7", r"edges\.csv: line 3: weight must be a finite number in float32, got inf"),
        ("0,7\n", "0,red\n", r"edges\.csv: line 3: kind must be a finite number in float32, got red"),
    ],
)
def test_a_broken_rule_of_edges_is_named(
    folder: Path, dataset_config: MakeConfig, old: str, new: str, message: str
) -> None:
    (folder / "edges.csv").write_text(FOLDER["edges.csv"].replace(old, new))
    with pytest.raises(DataError, match=message):
        load(folder, dataset_config)


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("edge_weight", np.array([1.0]), "edge_weight must have 2 rows, one per edge, got 1"),
        ("edge_weight", np.array([1.0, -1.0]), r"edge_weight\[1\] must be >= 0, got -1\.0"),
        ("edge_weight", np.ones((2, 2)), r"edge_weight must be one number per edge, got shape \[2, 2\]"),
        ("edge_attr", np.array([1e300, 0.0]), r"edge_attr\[0, 0\] must be a finite number in float32, got 1e\+300"),
        ("edge_attr", np.array([0, -1]), r"edge_attr\[1\] must be in 0\.\.9999, got -1"),
        ("edge_attr", np.ones((2, 1, 1)), r"edge_attr must hold numbers in 1 or 2 dimensions, got float64 with shape"),
        ("edge_attr", np.ones((2, 0)), "edge_attr must hold numbers in 1 or 2 dimensions"),
    ],
)
def test_arrays_that_break_a_rule_are_named(
    tmp_path: Path, dataset_config: MakeConfig, name: str, values: np.ndarray, message: str
) -> None:
    arrays = {"edge_index": np.array([[0, 1], [1, 0]]), "y": np.array([0, 1]), "batch": np.array([0, 0, 1])}
    np.savez(tmp_path / "data.npz", **arrays, **{name: values})
    with pytest.raises(DataError, match=message):
        load(tmp_path, dataset_config)
