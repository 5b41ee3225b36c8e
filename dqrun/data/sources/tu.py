"""Graph classification sets of the TU collection (PyG's `TUDataset`): REDDIT-BINARY, PROTEINS, IMDB-BINARY, ..."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from dqrun.config import DataConfig, DatasetConfig
from dqrun.data.dataset import GraphDataset
from dqrun.data.mirror import RawFiles, load_pyg, unreadable
from dqrun.data.packed import PackedGraphs
from dqrun.errors import ConfigError, DataError


def load(dataset: DatasetConfig, data: DataConfig) -> GraphDataset:
    """All graphs of one TUDataset; x: node attributes, then one-hot node labels, where there are some.

    y: int64 [G], or float32 [G] for sets with one graph attribute (regression). Raises ConfigError for a name or
    task that does not fit, DataError for files that are missing or broken.
    """
    name = dataset.name
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise ConfigError.rule("dataset.name", "be a TUDataset name", name)
    if dataset.task == "node_classification":
        raise ConfigError.rule("dataset.task", "be graph_classification or graph_regression for TU sets", dataset.task)
    target = "graph_attributes" if dataset.task == "graph_regression" else "graph_labels"
    files = RawFiles(
        folder=name,
        required=tuple(f"{name}_{part}.txt" for part in ("A", "graph_indicator", target)),
        optional=f"{name}_*.txt",
        check=lambda raw: check(raw, name),
    )
    (loaded,) = load_pyg("TUDataset", files, data, {"name": name, "use_node_attr": True})
    stored, slices = loaded._data, loaded.slices
    counts = slices["x"].diff() if stored.x is not None else torch.as_tensor(stored._num_nodes)
    y, num_classes = _targets(stored.y, dataset)
    return GraphDataset(
        name=name,
        task=dataset.task,
        packed=PackedGraphs.from_edges(stored.edge_index, counts, slices["edge_index"].diff()),
        y=y,
        num_classes=num_classes,
        x=stored.x,
    )


def _targets(y: torch.Tensor, dataset: DatasetConfig) -> tuple[torch.Tensor, int]:
    """Targets in the task's dtype, and the number of classes (0 for regression)."""
    if dataset.task == "graph_regression":
        if y.dim() > 1 and y.size(1) > 1:
            raise DataError(f"{dataset.name} has {y.size(1)} targets per graph; one is predicted")
        return y.flatten().float(), 0
    if y.is_floating_point():
        raise ConfigError.rule("dataset.task", f"be graph_regression for {dataset.name}", dataset.task)
    return y, int(y.max()) + 1


def check(raw: Path, name: str) -> None:
    """Raises DataError naming the first file that does not parse or whose length does not fit the others'."""

    def path(part: str) -> Path:
        return raw / f"{name}_{part}.txt"

    graph = _read(path("graph_indicator"), columns=1)[:, 0]
    if graph.size == 0 or graph[0] != 1 or ((step := np.diff(graph)) < 0).any() or (step > 1).any():
        raise DataError(f"{path('graph_indicator')}: graphs must be numbered 1, 2, ... in ascending order")
    edges = _read(path("A"), columns=2)
    lines = {"graph_labels": graph[-1], "graph_attributes": graph[-1], "node_labels": graph.size}
    lines |= {"node_attributes": graph.size, "edge_labels": len(edges), "edge_attributes": len(edges)}
    for part, expected in lines.items():
        if path(part).is_file():
            got = len(_read(path(part), integers=not part.endswith("attributes")))
            if got != expected:
                whole = "A" if part.startswith("edge") else "graph_indicator"
                raise DataError(f"{path(part)}: has {got} lines where {name}_{whole}.txt asks for {expected}")
    _check_edges(path("A"), edges, graph)


def _check_edges(path: Path, edges: NDArray[np.int64], graph: NDArray[np.int64]) -> None:
    """Edges must stay inside a graph; and the file must not end early.

    The number of edges is written nowhere, so a cut is found by its traces: the graph of the last line lacks reverse
    edges while all before it have theirs, or only graphs after it have no edges at all.
    """
    if edges.size == 0 or edges.min() < 1 or edges.max() > graph.size:
        raise DataError(f"{path}: names nodes outside 1..{graph.size}, the nodes of graph_indicator.txt")
    source, target = edges.T - 1
    owner = graph[source] - 1
    if (crossing := np.flatnonzero(owner != graph[target] - 1)).size:
        raise DataError(f"{path}: line {crossing[0] + 1} joins nodes of two graphs")
    forward, backward = source * graph.size + target, target * graph.size + source
    one_way = np.unique(owner[~np.isin(forward, backward)])
    num_graphs = int(graph[-1])
    last = int(owner.max())
    empty = (np.bincount(owner, minlength=num_graphs) == 0) & (np.bincount(graph - 1) > 1)
    if one_way.tolist() == [last] or (empty[last + 1 :].any() and not empty[:last].any()):
        raise DataError(f"{path}: truncated: edges end in graph {last + 1} of {num_graphs}")


def _read(path: Path, columns: int | None = None, integers: bool = True) -> NDArray[np.int64]:
    """The numbers of a comma-separated file, [lines, columns]."""
    try:
        table = pd.read_csv(path, header=None, skipinitialspace=True, dtype=np.int64 if integers else np.float64)
    except (OSError, ValueError) as error:  # pandas' parser errors are ValueErrors
        raise unreadable(path, error) from error
    if columns is not None and table.shape[1] != columns:
        raise DataError(f"{path}: must have {columns} columns, got {table.shape[1]}")
    values = table.to_numpy()
    broken = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if broken.size:
        raise DataError(f"{path}: line {broken[0] + 1} is incomplete or not finite")
    return values
