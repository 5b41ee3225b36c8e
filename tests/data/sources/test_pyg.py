"""`dataset=pyg`: classes of PyG, from raw files of a mirror, without network."""

from __future__ import annotations

import os
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch_geometric.data import Data
from torch_geometric.datasets import Airports

from dqrun.composition.compose import load_configs
from dqrun.config import DataConfig, RunConfig
from dqrun.data.dataset import GraphDataset, load_dataset
from dqrun.data.fingerprint import data_fingerprint
from dqrun.data.sources.pyg_arrays import arrays_of
from dqrun.data.splits import split_for
from dqrun.errors import ConfigError, DataError

DATASETS = "torch_geometric.datasets"


def config(*words: str) -> RunConfig:
    (found,) = load_configs(["dataset=pyg", "model=gcn", *words])
    return found


def load(mirror: Path, root: Path, *words: str) -> GraphDataset:
    return load_dataset(config(*words).dataset, DataConfig(root=str(root), mirror=str(mirror)))


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    """Raw files of a small Airports network and of a heterophilous one with three splits."""
    airports = tmp_path / "mirror" / "Airports" / "usa" / "raw"
    airports.mkdir(parents=True)
    (airports / "usa-airports.edgelist").write_text("10 11\n11 12\n12 13\n13 10\n")
    (airports / "labels-usa-airports.txt").write_text("node label\n10 0\n11 1\n12 0\n13 1\n")
    hetero = tmp_path / "mirror" / "minesweeper" / "raw"
    hetero.mkdir(parents=True)
    parts = np.arange(6) % 3
    masks = {
        f"{name}_masks": np.stack([np.roll(parts, k) == i for k in range(3)])
        for i, name in enumerate(["train", "val", "test"])
    }
    np.savez(
        hetero / "minesweeper.npz",
        node_features=np.eye(6, dtype=np.float32),
        node_labels=np.array([0, 1, 0, 1, 0, 1]),
        edges=np.array([[0, 1], [1, 2], [2, 3], [3, 4], [4, 5]]),
        **masks,
    )
    return tmp_path / "mirror"


AIRPORTS = (f"dataset.target={DATASETS}.Airports", "dataset.args={name: USA}")
MINES = (f"dataset.target={DATASETS}.HeterophilousGraphDataset", "dataset.args={name: Minesweeper}")


def test_a_class_reads_its_raw_files_from_the_mirror(mirror: Path, tmp_path: Path) -> None:
    dataset = load(mirror, tmp_path / "cache", *AIRPORTS)
    theirs = Airports(str(_copied(mirror / "Airports", tmp_path / "copy")), "usa")[0]
    assert dataset.name == "Airports-USA" and dataset.num_classes == 2 and dataset.official is None
    assert dataset.x is not None and torch.equal(dataset.x, theirs.x) and torch.equal(dataset.y, theirs.y)
    assert dataset.num_edges == theirs.num_edges
    assert not list(mirror.rglob("processed")), "nothing is written beside raw files"


def _copied(source: Path, target: Path) -> Path:
    import shutil

    shutil.copytree(source, target)
    return target


def test_what_was_read_is_cached_until_a_raw_file_changes(
    mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = data_fingerprint(load(mirror, tmp_path / "cache", *AIRPORTS))
    read: list[str] = []
    process = Airports.process
    monkeypatch.setattr(Airports, "process", lambda self: (read.append("again"), process(self)))
    assert data_fingerprint(load(mirror, tmp_path / "cache", *AIRPORTS)) == first and not read
    labels = mirror / "Airports" / "usa" / "raw" / "labels-usa-airports.txt"
    labels.write_text(labels.read_text().replace("13 1", "13 0"))
    assert data_fingerprint(load(mirror, tmp_path / "cache", *AIRPORTS)) != first and read


def test_several_masks_are_folds(mirror: Path, tmp_path: Path) -> None:
    words = (*MINES, "protocol=kfold", "protocol.num_folds=3")
    dataset, protocol = load(mirror, tmp_path / "cache", *words), config(*words).protocol
    assert len(dataset.folds) == 3 and dataset.official is not None
    assert [split_for(dataset, protocol, k).train.tolist() for k in range(3)] == [[0, 3], [1, 4], [2, 5]]
    assert split_for(dataset, config(*MINES).protocol, None).train.tolist() == [0, 3]
    again = load(mirror, tmp_path / "cache", *words)
    assert [fold.test.tolist() for fold in again.folds] == [[2, 5], [0, 3], [1, 4]], "from the cache too"
    with pytest.raises(ConfigError, match=r"protocol.num_folds must be 3, the number of splits"):
        split_for(dataset, config(*MINES, "protocol=kfold").protocol, 0)


def test_transforms_by_path(mirror: Path, tmp_path: Path) -> None:
    plain = load(mirror, tmp_path / "cache", *AIRPORTS)
    path = "torch_geometric.transforms.ToUndirected"
    changed = load(mirror, tmp_path / "cache", *AIRPORTS, f"dataset.transforms=[{path}]")
    assert changed.num_edges == 2 * plain.num_edges
    with pytest.raises(ConfigError, match=r"dataset.transforms must name something that can be imported"):
        load(mirror, tmp_path / "cache", *AIRPORTS, "dataset.transforms=[torch_geometric.transforms.Nothing]")


@pytest.mark.parametrize("changed", ["class", "transform"])
def test_other_code_of_the_user_makes_other_data(
    mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: str
) -> None:
    code = tmp_path / "airport_code.py"
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("sys.dont_write_bytecode", True)

    def nodes(in_class: int, in_transform: int) -> float:
        """The first feature of data made by these versions of the two."""
        code.write_text(
            "from torch_geometric.datasets import Airports as Theirs\n"
            "class Airports(Theirs):\n"
            "    def get(self, i):\n"
            f"        data = super().get(i).clone(); data.x = data.x + {in_class}; return data\n"
            f"def shifted(data): data.x = data.x + {in_transform}; return data\n"
        )
        sys.modules.pop("airport_code", None)
        words = ("dataset.target=airport_code.Airports", "dataset.args={name: USA}")
        made = load(mirror, tmp_path / "cache", *words, "dataset.transforms=[airport_code.shifted]")
        assert isinstance(made.x, torch.Tensor)
        return float(made.x[0, 0])

    first = nodes(0, 0)
    assert nodes(0, 0) == first
    assert nodes(*((20, 0) if changed == "class" else (0, 20))) == first + 20
    monkeypatch.delitem(sys.modules, "airport_code")


def test_a_class_without_files(mirror: Path, tmp_path: Path) -> None:
    words = (f"dataset.target={DATASETS}.FakeDataset", "dataset.args={num_graphs: 12, avg_num_nodes: 5}")
    first = load(mirror, tmp_path, *words, "dataset.task=graph_classification")
    assert first.num_graphs == 12 and data_fingerprint(first) == data_fingerprint(
        load(mirror, tmp_path, *words, "dataset.task=graph_classification")
    )


@pytest.mark.parametrize(
    ("words", "error", "text"),
    [
        ((), ConfigError, r"dataset.target must be a dotted path of a class"),
        (("dataset.target=os",), ConfigError, r"dataset.target must be a dotted path of a class, .* got 'os'"),
        (("dataset.target=os.path.join",), ConfigError, r"dataset.target must name a class, got 'os.path.join'"),
        ((f"dataset.target={DATASETS}.Nothing",), ConfigError, r"dataset.target must name something that can be imp"),
        ((AIRPORTS[0], "dataset.args={nme: USA}"), ConfigError, r"dataset.args must be arguments of .*Airports: .*nme"),
        ((AIRPORTS[0], "dataset.args.root=x"), ConfigError, r"dataset.args must name no root"),
        (
            (*AIRPORTS, "dataset.task=graph_classification"),
            DataError,
            r"wants 1 targets, got \[4\]; is it a",
        ),
        (("dataset.target=builtins.dict",), DataError, "is no dataset|holds no graphs"),
        (("dataset.target=builtins.object",), DataError, "builtins.object is no dataset class: what it makes holds no"),
    ],
)
def test_mistakes(mirror: Path, tmp_path: Path, words: tuple[str, ...], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text) as caught:
        load(mirror, tmp_path, *words)
    assert "\n" not in str(caught.value)


def test_a_processed_file_of_somebody_else_is_never_opened(mirror: Path, tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "sprung"),)

    for folder in (mirror / "Airports" / "usa", tmp_path / "cache" / "pyg" / "Airports" / "usa"):
        (folder / "processed").mkdir(parents=True)
        (folder / "processed" / "data.pt").write_bytes(pickle.dumps(Trap()))
    load(mirror, tmp_path / "cache", *AIRPORTS)
    assert not (tmp_path / "sprung").exists()


def graph(nodes: int, **fields: Any) -> Data:
    ring = torch.stack([torch.arange(nodes), (torch.arange(nodes) + 1) % nodes])
    return Data(edge_index=ring, num_nodes=nodes, **fields)


def test_weights_and_features_of_edges_are_carried() -> None:
    given = graph(
        3, y=torch.tensor([0, 1, 1]), edge_weight=torch.tensor([1.0, 2.0, 3.0]), edge_attr=torch.tensor([0, 1, 2])
    )
    arrays = arrays_of([given], "node_classification", "toy")
    assert arrays.edge_weight is not None and arrays.edge_weight.tolist() == [1.0, 2.0, 3.0]
    assert arrays.edge_attr is not None and arrays.edge_attr.dtype == torch.int64
    given.edge_attr = torch.ones(3, 2, dtype=torch.int64)
    wide = arrays_of([given], "node_classification", "toy").edge_attr
    assert wide is not None and wide.dtype == torch.float32 and wide.shape == (3, 2)


def test_targets_columns_and_unlabelled_nodes() -> None:
    graphs = [graph(3, y=torch.tensor([[1.5, 2.5]])), graph(4, y=torch.tensor([[3.5, 4.5]]))]
    assert arrays_of(graphs, "graph_regression", "toy", column=1).y.tolist() == [2.5, 4.5]
    with pytest.raises(DataError, match=r"targets in 2 columns, got dataset.column=2"):
        arrays_of(graphs, "graph_regression", "toy", column=2)
    mask = torch.tensor([True, True, False, False])
    one = graph(4, y=torch.tensor([-1, 0, 1, 1]), train_mask=mask, val_mask=~mask, test_mask=~mask & mask)
    arrays = arrays_of([one], "node_classification", "toy")
    assert arrays.train is not None and arrays.train.tolist() == [1], "a node without a label is in no part"


def test_parts_of_graphs_with_labels_of_nodes() -> None:
    graphs = [graph(n, y=torch.zeros(n, dtype=torch.int64)) for n in (3, 4, 5, 6)]
    arrays = arrays_of(graphs, "node_classification", "toy", sizes=[2, 1, 1])
    assert arrays.train is not None and arrays.train.tolist() == list(range(7))
    assert arrays.test is not None and arrays.test.tolist() == list(range(12, 18))


def test_arguments_may_be_lists_of_lists() -> None:
    args = "dataset.args={block_sizes: [20, 20], edge_probs: [[0.5, 0.1], [0.1, 0.5]]}"
    (config,) = load_configs(["dataset=pyg", f"dataset.target={DATASETS}.StochasticBlockModelDataset", args])
    assert config.dataset.args["edge_probs"] == [[0.5, 0.1], [0.1, 0.5]]
    with pytest.raises(ConfigError, match=r"^dataset\.args\.edge_probs must be text, a number, .* got"):
        load_configs(["dataset=pyg", f"dataset.target={DATASETS}.X", "dataset.args={edge_probs: [{a: 1}]}"])
