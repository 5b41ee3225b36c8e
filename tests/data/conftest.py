"""Caches and mirrors for the tests of the data package; nothing here reaches the network."""

from __future__ import annotations

import os
import urllib.request
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from dqrun.config import DataConfig, DatasetConfig

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # PyG warns of its own deprecations when it is imported
    import torch_geometric.datasets  # noqa: F401
    from torch_geometric.io import fs

MakeConfig = Callable[..., DatasetConfig]


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """An empty cache folder."""
    return tmp_path / "cache"


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """No download succeeds, and the user's own cache is out of reach."""

    def refuse(*args: object, **kwargs: object) -> None:
        raise OSError("the tests are offline")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    monkeypatch.setattr(fs, "cp", refuse)
    monkeypatch.delenv("DQRUN_DATA", raising=False)


@pytest.fixture
def real_data(cache: Path) -> DataConfig:
    """An empty cache with the mirror that DQRUN_DATA_MIRROR names; skips without one."""
    mirror = os.environ.get("DQRUN_DATA_MIRROR")
    if not mirror:
        pytest.skip("DQRUN_DATA_MIRROR names no folder with raw files of real datasets")
    return DataConfig(root=str(cache), mirror=mirror)


@pytest.fixture
def dataset_config() -> MakeConfig:
    """Makes a DatasetConfig; by default a graph classification task with automatic features."""

    def make(**fields: object) -> DatasetConfig:
        return DatasetConfig(**({"task": "graph_classification", "features": "auto"} | fields))  # type: ignore[arg-type]

    return make


@pytest.fixture
def write_tu() -> Callable[..., None]:
    """Writes a small TUDataset: `write_tu(raw, name, graphs=6)`."""
    return _write_tu


@pytest.fixture
def write_superpixels() -> Callable[..., None]:
    """Writes a raw file of GNNBenchmarkDataset: `write_superpixels(path, sizes=(6, 3, 4), channels=1)`."""
    return _write_superpixels


def _write_tu(raw: Path, name: str, graphs: int = 6) -> None:
    """A small TUDataset: paths of 3, 4, 5, ... nodes, two classes, node labels."""
    raw.mkdir(parents=True, exist_ok=True)
    edges, owner, labels, first = [], [], [], 1
    for graph in range(graphs):
        nodes = 3 + graph
        owner += [graph + 1] * nodes
        labels += [node % 2 for node in range(nodes)]
        for node in range(first, first + nodes - 1):
            edges += [(node, node + 1), (node + 1, node)]
        first += nodes
    (raw / f"{name}_A.txt").write_text("".join(f"{a}, {b}\n" for a, b in edges))
    (raw / f"{name}_graph_indicator.txt").write_text("".join(f"{graph}\n" for graph in owner))
    (raw / f"{name}_graph_labels.txt").write_text("".join(f"{1 if graph % 2 else -1}\n" for graph in range(graphs)))
    (raw / f"{name}_node_labels.txt").write_text("".join(f"{label}\n" for label in labels))


def _write_superpixels(path: Path, sizes: tuple[int, int, int] = (6, 3, 4), channels: int = 1) -> None:
    """A raw file of GNNBenchmarkDataset: three lists of dicts of tensors."""
    generator = torch.Generator().manual_seed(0)

    def graph(number: int) -> dict[str, torch.Tensor]:
        nodes = 4 + number % 3
        ring = torch.arange(nodes)
        return {
            "x": torch.rand(nodes, channels, generator=generator),
            "pos": torch.rand(nodes, 2, generator=generator),
            "edge_index": torch.stack([ring, ring.roll(1)]),
            "edge_attr": torch.ones(nodes),
            "y": torch.tensor([number % 10]),
        }

    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save([[graph(number) for number in range(size)] for size in sizes], path)
