"""Superpixel graphs MNIST and CIFAR10 with their official split (Dwivedi et al., 2020)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dqrun.config import DataConfig, DatasetConfig
from dqrun.data.arrays import GraphArrays
from dqrun.data.dataset import GraphDataset
from dqrun.data.downloads import of_pyg
from dqrun.data.raw_files import RawContent, RawFiles, load_raw, unreadable
from dqrun.data.sources.graph_list import joined
from dqrun.data.splits import PARTS
from dqrun.data.torch_files import as_tensor, read_torch
from dqrun.errors import ConfigError, DataError

NAMES = ("MNIST", "CIFAR10")
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
        fetch=of_pyg("GNNBenchmarkDataset", name=dataset.name),
    )
    return load_raw(files, data, lambda raw: parse(raw, file)).dataset(dataset.name, dataset.task)


def parse(raw: RawContent, file: str) -> GraphArrays:
    """The graphs of a file with three lists of dicts of tensors. Raises DataError that names the file and the graph."""
    path = raw.path(file)
    try:
        parts = read_torch(raw.content[file])
    except ValueError as error:
        raise unreadable(path, error) from error
    if not isinstance(parts, list | tuple) or len(parts) != 3 or not all(isinstance(part, list) for part in parts):
        raise DataError(f"{path}: must hold three lists of graphs: train, val, test")
    graphs = []
    for part, found in zip(PARTS, parts, strict=True):
        if len(found) < 2:
            raise DataError(f"{path}: the {part} list must hold at least 2 graphs, got {len(found)}")
        graphs += [_graph(each, f"{path}: graph {number} of {part}") for number, each in enumerate(found)]
    widths = {x.size(1) for x, _, _ in graphs}
    if len(widths) > 1:
        raise DataError(f"{path}: all graphs must have equally many features, got {sorted(widths)}")
    return joined(
        sizes=[len(part) for part in parts],
        edges=[edges for _, edges, _ in graphs],
        nodes=[len(x) for x, _, _ in graphs],
        y=torch.cat([y for _, _, y in graphs]),
        num_classes=10,
        x=torch.cat([x for x, _, _ in graphs]),
    )


def _graph(graph: Any, where: str) -> tuple[Tensor, Tensor, Tensor]:
    """Features float32 [n, F], edges int64 [2, e] and class int64 [1] of one graph; raises DataError."""
    if not isinstance(graph, dict) or any(key not in graph for key in KEYS):
        raise DataError(f"{where}: must be a dict with the tensors {', '.join(KEYS)}")
    try:
        x, pos, edge_index, y = (as_tensor(graph[key]) for key in KEYS)
    except ValueError as error:
        raise DataError(f"{where}: must be a dict with the tensors {', '.join(KEYS)} ({error})") from None
    if x.dim() != 2 or pos.dim() != 2 or x.size(0) != pos.size(0):
        raise DataError(f"{where}: x and pos must be matrices with a row per node")
    if edge_index.dim() != 2 or edge_index.size(0) != 2 or edge_index.dtype != torch.int64:
        raise DataError(f"{where}: edge_index must be int64 [2, E]")
    if edge_index.numel() and not 0 <= int(edge_index.min()) <= int(edge_index.max()) < x.size(0):
        raise DataError(f"{where}: an edge names a node that is not there")
    if y.is_floating_point() or y.numel() != 1 or not 0 <= int(y) <= 9:
        raise DataError(f"{where}: y must be one class in 0..9")
    features = torch.cat([x, pos], dim=1).float()
    if not bool(features.isfinite().all()):
        raise DataError(f"{where}: x and pos must be finite numbers in float32")
    return features, edge_index, y.long().flatten()
