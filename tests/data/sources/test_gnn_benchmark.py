"""Superpixel graphs: small raw files of the published format, and broken ones."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from dqrun.config import DataConfig, DatasetConfig
from dqrun.data.dataset import GraphDataset, load_dataset
from dqrun.data.raw_files import RawContent
from dqrun.data.sources.gnn_benchmark import parse
from dqrun.errors import DataError

MakeConfig = Callable[..., DatasetConfig]
Write = Callable[..., None]


def load(cache: Path, make: MakeConfig, name: str) -> GraphDataset:
    return load_dataset(make(name=name, source="gnn_benchmark", features="given"), DataConfig(root=str(cache)))


@pytest.mark.parametrize(("name", "channels"), [("MNIST", 1), ("CIFAR10", 3)])
def test_features_are_colour_and_centroid(
    name: str, channels: int, cache: Path, write_superpixels: Write, dataset_config: MakeConfig
) -> None:
    file = cache / name / "raw" / f"{name}_v2.pt"
    write_superpixels(file, channels=channels)
    dataset = load(cache, dataset_config, name)
    raw = [graph for part in torch.load(file) for graph in part]
    assert dataset.x is not None and dataset.official is not None
    assert torch.equal(dataset.x[:, :channels], torch.cat([graph["x"] for graph in raw]))
    assert torch.equal(dataset.x[:, channels:], torch.cat([graph["pos"] for graph in raw]))
    assert dataset.y.tolist() == [*range(6), *range(3), *range(4)] and dataset.num_classes == 10
    assert dataset.official.val.tolist() == [6, 7, 8]
    graph, _ = dataset.packed.gather(torch.tensor([7]))
    assert torch.equal(graph.csr.col, (graph.csr.row + 1) % graph.num_nodes)


def test_a_truncated_file_is_named(cache: Path, write_superpixels: Write, dataset_config: MakeConfig) -> None:
    file = cache / "MNIST" / "raw" / "MNIST_v2.pt"
    write_superpixels(file)
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(DataError) as error:
        load(cache, dataset_config, "MNIST")
    assert f"{file}: truncated or not the expected format" in str(error.value) and "\n" not in str(error.value)


def check(path: Path) -> None:
    parse(RawContent(path.parent, {path.name: path.read_bytes()}), path.name)


GOOD = {
    "x": torch.zeros(2, 1),
    "pos": torch.zeros(2, 2),
    "edge_index": torch.zeros(2, 3, dtype=torch.int64),
    "y": torch.tensor([3]),
}


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"pos": None}, "must be a dict with the tensors"),
        ({"pos": torch.zeros(3, 2)}, "a row per node"),
        ({"edge_index": torch.zeros(3, 2, dtype=torch.int64)}, "edge_index must be"),
        ({"edge_index": torch.full((2, 1), 2)}, "an edge names a node that is not there"),
        ({"y": torch.tensor([10])}, "y must be one class in 0..9"),
    ],
)
def test_a_graph_that_breaks_a_rule_is_named(change: dict[str, torch.Tensor], problem: str, tmp_path: Path) -> None:
    torch.save([[GOOD, GOOD], [GOOD, GOOD | change], [GOOD, GOOD]], tmp_path / "file.pt")
    with pytest.raises(DataError, match=rf"file\.pt: graph 1 of val: .*{problem}"):
        check(tmp_path / "file.pt")


@pytest.mark.parametrize(("content", "problem"), [({}, "three lists"), ([[], [], []], "train list must hold at least")])
def test_other_content_is_refused(content: object, problem: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "file.pt")
    with pytest.raises(DataError, match=problem):
        check(tmp_path / "file.pt")


class Planted:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_the_file_does_not_run(zipped: bool, tmp_path: Path) -> None:
    content = [[GOOD, GOOD | {"x": Planted(tmp_path / "mark")}]] * 3
    torch.save(content, tmp_path / "file.pt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(DataError, match=r"file\.pt: .*it asks for posix\.mkdir"):
        check(tmp_path / "file.pt")
    assert not (tmp_path / "mark").exists()
