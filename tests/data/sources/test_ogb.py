"""Sets of OGB: small raw folders in its layout, text and binary, and broken ones."""

from __future__ import annotations

import gzip
import io
import urllib.request
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dqrun.config import DataConfig, DatasetConfig, ProtocolConfig
from dqrun.config.ogb import OGB_SETS, ogb_metric, ogb_task
from dqrun.data.dataset import GraphDataset, load_dataset
from dqrun.data.splits import split_for
from dqrun.errors import ConfigError, DataError

MakeConfig = Callable[..., DatasetConfig]

MOLECULES = {  # three chains, of 2, 3 and 2 atoms
    "raw/edge.csv.gz": "0,1\n0,1\n1,2\n0,1\n",
    "raw/num-node-list.csv.gz": "2\n3\n2\n",
    "raw/num-edge-list.csv.gz": "1\n2\n1\n",
    "raw/node-feat.csv.gz": "5,0\n6,1\n5,0\n5,0\n7,2\n6,0\n5,0\n",
    "raw/edge-feat.csv.gz": "0,0,0\n1,0,1\n0,2,0\n0,0,1\n",
    "raw/graph-label.csv.gz": "1\n0\n1\n",
    "split/scaffold/train.csv.gz": "2\n",
    "split/scaffold/valid.csv.gz": "0\n",
    "split/scaffold/test.csv.gz": "1\n",
}
PAPERS = {  # one graph of 4 nodes
    "raw/edge.csv.gz": "0,1\n0,2\n3,1\n",
    "raw/num-node-list.csv.gz": "4\n",
    "raw/num-edge-list.csv.gz": "3\n",
    "raw/node-feat.csv.gz": "0.5,1\n-1e-1,2\n0,0\n1,1\n",
    "raw/node-label.csv.gz": "0\n2\n1\n2\n",
    "split/time/train.csv.gz": "0\n3\n",
    "split/time/valid.csv.gz": "1\n",
    "split/time/test.csv.gz": "2\n",
}


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(gzip.compress(text.encode()))


@pytest.fixture
def load(cache: Path, dataset_config: MakeConfig, monkeypatch: pytest.MonkeyPatch) -> Callable[..., GraphDataset]:
    monkeypatch.delenv("DQRUN_DATA_MIRROR", raising=False)

    def made(name: str, files: dict[str, str] | None = None, task: str | None = None) -> GraphDataset:
        if files is not None:
            write(cache / "ogb" / name.replace("-", "_"), files)
        config = dataset_config(name=name, source="ogb", task=task or ogb_task(name), metric=ogb_metric(name))
        config.validate()
        return load_dataset(config, DataConfig(root=str(cache)))

    return made


Load = Callable[..., GraphDataset]


def test_molecules_have_both_directions_of_each_bond_and_columns_of_categories(load: Load) -> None:
    dataset = load("ogbg-molhiv", MOLECULES)
    assert dataset.task == "graph_multilabel" and dataset.y.tolist() == [[1], [0], [1]] and dataset.num_classes == 1
    assert dataset.category is not None and dataset.category.shape == (7, 2) and dataset.x is None
    graph, nodes = dataset.packed.gather(torch.tensor([1]))
    assert dataset.category[nodes].tolist() == [[5, 0], [5, 0], [7, 2]]
    assert graph.csr.edge_index.tolist() == [[1, 0, 2, 1], [0, 1, 1, 2]]
    assert graph.edge_attr is not None
    assert graph.edge_attr.tolist() == [[1, 0, 1], [1, 0, 1], [0, 2, 0], [0, 2, 0]]
    split = split_for(dataset, ProtocolConfig(name="seeds"), None)
    assert (split.train.tolist(), split.val.tolist(), split.test.tolist()) == ([2], [0], [1])


def test_unknown_labels_are_nan(load: Load) -> None:
    labels = "\n".join(["1.0," + "," * 10, "0,1" + "," * 10, "nan" + ",0" * 11]) + "\n"
    y = load("ogbg-moltox21", MOLECULES | {"raw/graph-label.csv.gz": labels}).y
    assert y.shape == (3, 12) and y[0, 0] == 1 and bool(y[0, 1:].isnan().all()) and bool(y[2, 0].isnan())
    assert y[1, :2].tolist() == [0, 1] and y[2, 1:].eq(0).all()


def test_numbers_are_targets_of_regression(load: Load) -> None:
    dataset = load("ogbg-molesol", MOLECULES | {"raw/graph-label.csv.gz": "-0.77\n-3.3\n2\n"})
    assert dataset.y.tolist() == pytest.approx([-0.77, -3.3, 2]) and dataset.num_classes == 0


def test_citations_keep_their_direction(load: Load) -> None:
    dataset = load("ogbn-arxiv", PAPERS)
    assert dataset.x is not None and dataset.x[1].tolist() == pytest.approx([-0.1, 2])
    assert (dataset.y.tolist(), dataset.num_classes, dataset.num_edges) == ([0, 2, 1, 2], 3, 3)
    assert dataset.packed.in_degree.tolist() == [0, 2, 1, 0]
    assert (
        load("ogbn-products", {name.replace("time", "sales_ranking"): text for name, text in PAPERS.items()}).num_edges
        == 6
    )


def write_papers(folder: Path, train: str = "0\n", **changes: object) -> None:
    """Arrays of 4 nodes, of which the last one has no class."""
    split = {"split/time/train.csv.gz": train, "split/time/valid.csv.gz": "1\n", "split/time/test.csv.gz": "2\n"}
    write(folder, split)
    (folder / "raw").mkdir()
    arrays = {
        "edge_index": [[0, 0, 3], [1, 2, 1]], "num_nodes_list": [4], "num_edges_list": [3],
        "node_feat": np.ones((4, 2), np.float16), "node_year": np.zeros((4, 1)),
        "node_label": np.array([[0], [2], [1], [np.nan]], np.float32),
    } | changes  # fmt: skip
    np.savez(folder / "raw" / "node-label.npz", node_label=arrays.pop("node_label"))
    np.savez(folder / "raw" / "data.npz", **arrays)


def test_arrays_of_papers100M_hold_the_same_and_unknown_classes_are_in_no_part(load: Load, cache: Path) -> None:
    write_papers(cache / "ogb" / "ogbn_papers100M")
    dataset = load("ogbn-papers100M")
    assert (dataset.y.tolist(), dataset.num_classes, dataset.num_edges) == ([0, 2, 1, 0], 3, 3)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"train": "0\n3\n"}, r"known for the split's nodes: node 3 has none"),
        ({"node_label": np.array([[0], [np.inf], [1], [2]])}, r"labels must be classes in 0\.\.9999"),
        ({"node_label": np.array([[0], [0.5], [1], [2]])}, r"labels must be classes in 0\.\.9999"),
        ({"node_label": np.array([[0], [-1], [1], [2]])}, r"labels must be classes in 0\.\.9999"),
        (
            {"node_label": np.ones((4, 2))},
            r"node-label\.npz: node_label must hold numbers \[N, 1\], got float64 \[4, 2\]",
        ),
        ({"node_label": np.ones((4, 1), bool)}, r"node_label must hold numbers \[N, 1\], got bool"),
        (
            {"node_feat": np.ones(4)},
            r"data\.npz: node_feat must hold finite numbers of float32 \[N, F\], got float64 \[4\]",
        ),
        ({"node_feat": np.ones((4, 0))}, r"node_feat must hold finite numbers"),
        ({"node_feat": np.full((4, 2), 1e39)}, r"node_feat must hold finite numbers"),
        ({"node_feat": np.ones((4, 2), np.int64)}, r"node_feat must hold finite numbers"),
        ({"num_nodes_list": [4.4]}, r"num_nodes_list must hold integers \[G\], got float64 \[1\]"),
        ({"num_edges_list": 3}, r"num_edges_list must hold integers \[G\], got int64 \[\]"),
        ({"edge_index": [0, 1]}, r"edge_index must hold integers \[2, E\], got int64 \[2\]"),
        ({"edge_index": [[0.0, 0, 3], [1, 2, 1]]}, r"edge_index must hold integers"),
        ({"num_nodes_list": [2, 2], "num_edges_list": [1, 2]}, "must hold one graph, got 2"),
    ],
)
def test_a_broken_array_is_named(changes: dict[str, Any], told: str, load: Load, cache: Path) -> None:
    write_papers(cache / "ogb" / "ogbn_papers100M", **changes)
    with pytest.raises(DataError, match=told) as error:
        load("ogbn-papers100M")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("file", "text", "told"),
    [
        ("raw/edge.csv.gz", "0,1\n0,1\n1,x\n0,1\n", r"edge\.csv\.gz: line 3: must be an integer, got 'x'"),
        ("raw/graph-label.csv.gz", "1\n0\n2\n", r"graph-label\.csv\.gz: line 3: must be 0, 1 or empty, got '2'"),
        ("raw/graph-label.csv.gz", "1\n0\n", "must have 3 rows of labels, got 2"),
        ("raw/node-feat.csv.gz", "5,0\n" * 6, "must have 7 rows of node features, got 6"),
        ("raw/edge-feat.csv.gz", "0\n0\n0\n-1\n", r"edge-feat\.csv\.gz: line 4: must hold categories in 0\.\.9999"),
        ("split/scaffold/test.csv.gz", "7\n", r"test\.csv\.gz: line 1: must be in 0\.\.2, got 7"),
        ("split/scaffold/test.csv.gz", "0\n", r"test\.csv\.gz: line 1: must be in one part, once, got 0"),
        ("split/scaffold/test.csv.gz", "1\n1\n", r"test\.csv\.gz: line 2: must be in one part, once, got 1"),
        ("raw/num-edge-list.csv.gz", "1\n1\n1\n", "must have 3 rows of edges, got 4"),
        ("raw/num-edge-list.csv.gz", "1\n3\n", "must be >= 0, one of each for every graph"),
        ("raw/num-edge-list.csv.gz", "-1\n4\n1\n", "must be >= 0, one of each for every graph"),
        ("raw/num-node-list.csv.gz", "4\n-1\n4\n", "must be >= 0, one of each for every graph"),
        (
            "raw/edge.csv.gz",
            "0,1\n0,1\n1,3\n0,1\n",
            r"edge\.csv\.gz: line 3: must join nodes of its graph, got \[1, 3\]",
        ),
        (
            "raw/edge.csv.gz",
            "0,1\n0,-1\n1,2\n0,1\n",
            r"edge\.csv\.gz: line 2: must join nodes of its graph, got \[0, -1\]",
        ),
    ],
)
def test_a_broken_file_is_named(file: str, text: str, told: str, load: Load) -> None:
    with pytest.raises(DataError, match=told) as error:
        load("ogbg-molhiv", MOLECULES | {file: text})
    assert "\n" not in str(error.value)


def test_a_cut_archive_is_named(load: Load, cache: Path) -> None:
    write(cache / "ogb" / "ogbg_molhiv", MOLECULES)
    file = cache / "ogb" / "ogbg_molhiv" / "raw" / "edge.csv.gz"
    file.write_bytes(file.read_bytes()[:-6])
    with pytest.raises(DataError, match=r"edge\.csv\.gz: truncated or not the expected format"):
        load("ogbg-molhiv")


@pytest.mark.parametrize(
    ("name", "task", "told"),
    [
        ("ogbg-molhi", "graph_multilabel", "dataset.name must be one of ogbg-molbace"),
        ("ogbg-molhiv", "graph_classification", "dataset.task must be one of graph_multilabel"),
    ],
)
def test_another_name_or_task_is_refused(name: str, task: str, told: str, load: Load) -> None:
    with pytest.raises(ConfigError, match=told):
        load(name, MOLECULES, task)


def served(monkeypatch: pytest.MonkeyPatch, members: dict[str, bytes]) -> list[str]:
    """Every address then gives an archive; returns the list of addresses that were asked for."""
    content, asked = io.BytesIO(), []
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)

    def answer(url: str) -> io.BytesIO:
        asked.append(url)
        return io.BytesIO(content.getvalue())

    monkeypatch.setattr(urllib.request, "urlopen", answer)
    return asked


def test_the_archive_is_fetched_once(load: Load, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    asked = served(monkeypatch, {f"hiv/{name}": gzip.compress(text.encode()) for name, text in MOLECULES.items()})
    assert load("ogbg-molhiv").num_graphs == load("ogbg-molhiv").num_graphs == 3
    assert asked == ["http://snap.stanford.edu/ogb/data/graphproppred/csv_mol_download/hiv.zip"]
    files = {path.name for path in (cache / "ogb").rglob("*") if path.is_file()}
    assert files == {name.rpartition("/")[2] for name in MOLECULES} | {"dqrun-data.safetensors"}


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("hiv/../../escaped", b"", "lies outside its folder"),
        ("hiv/readme", b"", r"the download holds no raw/edge\.csv\.gz"),
        ("hiv/bomb", b"", "unpacks to far more bytes"),
    ],
)
def test_other_archives_are_refused(
    name: str, content: bytes, told: str, load: Load, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    if "bomb" in name:
        monkeypatch.setattr("dqrun.data.downloads.MOST_UNPACKED", -1)
        monkeypatch.setattr("dqrun.data.downloads.MOST_RATIO", -1)
    served(monkeypatch, {name: content})
    with pytest.raises(DataError, match=told):
        load("ogbg-molhiv")
    assert not (cache.parent / "escaped").exists() and not (cache / "escaped").exists()
    assert not list((cache).glob(".*part"))


def test_every_set_has_a_metric_of_its_task() -> None:
    for name, known in OGB_SETS.items():
        DatasetConfig(name=name, source="ogb", task=known.task, metric=known.metric).validate()
        assert known.url.endswith(f"{known.top}.zip") and known.nodes in ("categories", "floats", "")


@pytest.mark.parametrize(
    ("name", "sizes"),
    [("ogbg-molbace", (1513, 51577, 111_536)), ("ogbg-molfreesolv", (642, 5600, 10_770))],
)
def test_the_real_sets(
    name: str, sizes: tuple[int, int, int], real_data: DataConfig, dataset_config: MakeConfig
) -> None:
    dataset = load_dataset(dataset_config(name=name, source="ogb", task=ogb_task(name)), real_data)
    assert (dataset.num_graphs, dataset.num_nodes, dataset.num_edges) == sizes
    split = split_for(dataset, ProtocolConfig(name="seeds"), None)
    assert sum(len(split.part(part)) for part in ("train", "val", "test")) == dataset.num_graphs
