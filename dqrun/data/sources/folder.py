"""The user's own graphs: a folder with CSV files or one NumPy archive, as docs/folder_format.md describes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from dqrun.config import DataConfig, DatasetConfig
from dqrun.data.dataset import GraphDataset
from dqrun.data.packed import PackedGraphs
from dqrun.data.sources.folder_content import UserGraphs
from dqrun.data.splits import Split
from dqrun.errors import ConfigError, DataError


def load(dataset: DatasetConfig, data: DataConfig) -> GraphDataset:
    """Reads and checks `dataset.path`; the files are read in place, nothing is cached.

    Raises ConfigError when the path is no folder, DataError naming file, line and rule for content that breaks one.
    """
    if dataset.path is None:
        raise ConfigError.rule("dataset.path", "name a folder for dataset=folder", dataset.path)
    folder = Path(dataset.path).expanduser()
    if not folder.is_dir():
        raise ConfigError.rule("dataset.path", "be an existing folder", dataset.path)
    content = _read(folder, dataset.task)
    # Nodes grouped by graph, in the order of the file within each; ids of the user's become positions.
    order = np.argsort(content.node_graph, kind="stable")
    counts = np.bincount(content.node_graph)
    local = np.empty_like(order)
    local[order] = np.arange(order.size) - np.repeat(np.cumsum(counts) - counts, counts)
    edge_graph = content.node_graph[content.source]
    edges = np.argsort(edge_graph, kind="stable")
    edge_index = np.stack([local[content.source[edges]], local[content.target[edges]]])
    parts = content.parts
    return GraphDataset(
        name=dataset.name,
        task=dataset.task,
        packed=PackedGraphs.from_edges(
            torch.from_numpy(edge_index),
            torch.from_numpy(counts),
            torch.from_numpy(np.bincount(edge_graph, minlength=counts.size)),
        ),
        y=torch.from_numpy(content.y),
        num_classes=content.num_classes,
        x=None if content.x is None else torch.from_numpy(content.x[order]),
        official=None
        if parts is None
        else Split(*(torch.from_numpy(parts[name]) for name in ("train", "val", "test"))),
        note=f"{dataset.name} is read from {folder}",
    )


def _read(folder: Path, task: str) -> UserGraphs:
    """The content in whichever of the two formats is there."""
    from dqrun.data.sources.folder_csv import read_graphs, read_nodes
    from dqrun.data.sources.folder_npz import read_npz

    is_node_task, regression = task == "node_classification", task == "graph_regression"
    archive, table = folder / "data.npz", folder / "nodes.csv"
    if archive.is_file() and table.is_file():
        raise DataError(f"{folder}: must hold data.npz or nodes.csv, not both")
    if archive.is_file():
        return read_npz(archive, is_node_task, regression)
    if not table.is_file():
        raise DataError(f"{folder}: must hold data.npz, or nodes.csv and edges.csv")
    return read_nodes(folder) if is_node_task else read_graphs(folder, regression)
