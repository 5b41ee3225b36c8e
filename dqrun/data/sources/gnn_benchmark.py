"""Superpixel graphs MNIST and CIFAR10 with their official split (PyG's `GNNBenchmarkDataset`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from dqrun.config import DataConfig, DatasetConfig
from dqrun.data.dataset import GraphDataset
from dqrun.data.mirror import RawFiles, load_pyg, unreadable
from dqrun.data.sources.collated import joined
from dqrun.errors import ConfigError, DataError

NAMES = ("MNIST", "CIFAR10")
PARTS = ("train", "val", "test")
KEYS = ("x", "pos", "edge_index", "y")


def load(dataset: DatasetConfig, data: DataConfig) -> GraphDataset:
    """Images as graphs of superpixels; x: mean colour (1 or 3 channels), then centroid, float32 [N, 3 or 5].

    y: int64 [G], ten classes. Raises ConfigError for another name or task, DataError for files that are missing or
    broken.
    """
    if dataset.name not in NAMES:
        raise ConfigError.rule("dataset.name", f"be one of {', '.join(NAMES)}", dataset.name)
    if dataset.task != "graph_classification":
        raise ConfigError.rule("dataset.task", f"be graph_classification for {dataset.name}", dataset.task)
    file = f"{dataset.name}_v2.pt"
    files = RawFiles(
        folder=dataset.name,
        required=(file,),
        check=lambda raw: check(raw / file),
        processed=tuple(f"processed/{part}_data.pt" for part in PARTS),
    )
    parts = load_pyg("GNNBenchmarkDataset", files, data, *({"name": dataset.name, "split": part} for part in PARTS))
    packed, split = joined(parts)
    stored = [part._data for part in parts]
    return GraphDataset(
        name=dataset.name,
        task=dataset.task,
        packed=packed,
        y=torch.cat([each.y.flatten() for each in stored]),
        num_classes=10,
        x=torch.cat([torch.cat([each.x, each.pos], dim=1) for each in stored]).float(),
        official=split,
    )


def check(path: Path) -> None:
    """Raises DataError naming the file unless it holds three lists of graphs with consistent tensors."""
    try:
        # As PyG reads it: trusted as far as the download is, since the published files may hold pickled objects.
        parts = torch.load(path, map_location="cpu", weights_only=False)
    except Exception as error:  # torch.load raises as many kinds as there are ways to damage a file
        raise unreadable(path, error) from error
    if not isinstance(parts, list | tuple) or len(parts) != 3 or not all(isinstance(part, list) for part in parts):
        raise DataError(f"{path}: must hold three lists of graphs: train, val, test")
    for part, graphs in zip(PARTS, parts, strict=True):
        if len(graphs) < 2:
            raise DataError(f"{path}: the {part} list must hold at least 2 graphs, got {len(graphs)}")
        for number, graph in enumerate(graphs):
            if (problem := _problem(graph)) is not None:
                raise DataError(f"{path}: graph {number} of {part}: {problem}")


def _problem(graph: Any) -> str | None:
    """What is wrong with one graph of the raw file, or None."""
    if not isinstance(graph, dict) or not all(isinstance(graph.get(key), torch.Tensor) for key in KEYS):
        return f"must be a dict with the tensors {', '.join(KEYS)}"
    x, pos, edge_index, y = (graph[key] for key in KEYS)
    if x.dim() != 2 or pos.dim() != 2 or x.size(0) != pos.size(0):
        return "x and pos must be matrices with a row per node"
    if edge_index.dim() != 2 or edge_index.size(0) != 2 or edge_index.dtype != torch.int64:
        return "edge_index must be int64 [2, E]"
    if edge_index.numel() and not 0 <= int(edge_index.min()) <= int(edge_index.max()) < x.size(0):
        return "an edge names a node that is not there"
    return None if y.numel() == 1 and 0 <= int(y) <= 9 else "y must be one class in 0..9"
