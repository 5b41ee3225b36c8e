"""Graph classification sets of the TU collection (Morris et al., 2020): REDDIT-BINARY, PROTEINS, IMDB-BINARY, ..."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import one_hot

from dqrun.config import DataConfig, DatasetConfig
from dqrun.data.arrays import GraphArrays
from dqrun.data.dataset import GraphDataset
from dqrun.data.downloads import of_pyg
from dqrun.data.number_text import read_numbers
from dqrun.data.raw_files import RawContent, RawFiles, load_raw
from dqrun.errors import ConfigError, DataError

NODE_PARTS = ("node_attributes", "node_labels")
EDGE_PARTS = ("edge_attributes", "edge_labels")  # their lengths also reveal a truncated edge list
MOST_LABELS = 10_000  # most one-hot columns for the labels of nodes or edges


def load(dataset: DatasetConfig, data: DataConfig) -> GraphDataset:
    """All graphs of one TUDataset; x: node attributes, then one-hot node labels, if the set has them.

    `edge_attr` is made of the attributes and labels of edges in the same way. Loops and repeated edges are removed
    (features of repeated edges are added) and classes are numbered in the order of their labels, as in PyG's
    `TUDataset`.
    y: int64 [G], or float32 [G] for sets with one graph attribute (regression). Raises ConfigError for a name or
    task that does not fit, DataError for files that are missing or broken.
    """
    name = dataset.name
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise ConfigError.rule("dataset.name", "be a TUDataset name", name)
    if dataset.task == "node_classification":
        raise ConfigError.rule("dataset.task", "be graph_classification or graph_regression for TU sets", dataset.task)
    regression = dataset.task == "graph_regression"
    target = "graph_attributes" if regression else "graph_labels"
    further = (*NODE_PARTS, *EDGE_PARTS, *(() if regression else ("graph_attributes",)))
    files = RawFiles(
        folder=name,
        required=tuple(f"{name}_{part}.txt" for part in ("A", "graph_indicator", target)),
        optional=tuple(f"{name}_{part}.txt" for part in further),
        fetch=of_pyg("TUDataset", name=name),
    )
    return load_raw(files, data, lambda raw: parse(raw, name, dataset.task)).dataset(name, dataset.task)


def parse(raw: RawContent, name: str, task: str) -> GraphArrays:
    """The graphs of one set. Raises DataError naming the first broken file, ConfigError for a wrong task."""
    table = _Tables(raw, name)
    if task == "graph_classification" and table.has("graph_attributes"):
        raise ConfigError.rule("dataset.task", f"be graph_regression for {name}", task)
    graph = table.read("graph_indicator", "i", columns=1)[:, 0]
    if graph[0] != 1 or ((step := np.diff(graph)) < 0).any() or (step > 1).any():
        raise DataError(f"{table.path('graph_indicator')}: graphs must be numbered 1, 2, ... in ascending order")
    counts = np.bincount(graph - 1)
    edges = table.read("A", "i", columns=2)
    features = _features(table, "edge", len(edges), "A")
    owner = _owners(table, edges, graph - 1)
    y, num_classes = _targets(table, len(counts), task)
    source, target = edges.T - 1
    no_loop = source != target
    key = source[no_loop] * graph.size + target[no_loop]
    kept, edge_attr = (np.unique(key), None) if features is None else _merged(key, features[torch.from_numpy(no_loop)])
    of_graph = graph[kept // graph.size] - 1
    first = (np.cumsum(counts) - counts)[of_graph]
    return GraphArrays(
        edge_index=torch.from_numpy(np.stack([kept // graph.size - first, kept % graph.size - first])),
        node_counts=torch.from_numpy(counts),
        edge_counts=torch.from_numpy(np.bincount(of_graph, minlength=counts.size)),
        y=y,
        num_classes=num_classes,
        x=_features(table, "node", graph.size, "graph_indicator"),
        edge_attr=edge_attr,
        warnings=_signs_of_a_cut(name, edges, owner, counts),
    )


class _Tables:
    """The text files of one set."""

    def __init__(self, raw: RawContent, name: str) -> None:
        self.raw, self.name = raw, name

    def path(self, part: str) -> str:
        return str(self.raw.path(f"{self.name}_{part}.txt"))

    def has(self, part: str) -> bool:
        return f"{self.name}_{part}.txt" in self.raw.content

    def read(self, part: str, kind: str, columns: int | None = None) -> NDArray[Any]:
        file = f"{self.name}_{part}.txt"
        return read_numbers(self.raw.path(file), self.raw.content[file], kind, columns)

    def rows(self, part: str, kind: str, expected: int, whole: str, columns: int | None = None) -> NDArray[Any]:
        """The numbers of a file; raises DataError unless it has `expected` lines, as the file `whole` implies."""
        values = self.read(part, kind, columns)
        if len(values) != expected:
            raise DataError(
                f"{self.path(part)}: has {len(values)} lines where {self.name}_{whole}.txt asks for {expected}"
            )
        return values


def _owners(table: _Tables, edges: NDArray[np.int64], graph: NDArray[np.int64]) -> NDArray[np.int64]:
    """Graph of each edge, int64 [E]; raises DataError if an edge's ends are not nodes of one graph."""
    outside = np.flatnonzero(((edges < 1) | (edges > graph.size)).any(axis=1))
    if outside.size:
        rule = f"must name nodes in 1..{graph.size}, the lines of {table.name}_graph_indicator.txt"
        raise DataError(f"{table.path('A')}: line {outside[0] + 1}: {rule}, got {edges[outside[0]].tolist()}")
    owner = graph[edges[:, 0] - 1]
    crossing = np.flatnonzero(owner != graph[edges[:, 1] - 1])
    if crossing.size:
        raise DataError(f"{table.path('A')}: line {crossing[0] + 1}: must join nodes of one graph")
    return owner


def _targets(table: _Tables, num_graphs: int, task: str) -> tuple[Tensor, int]:
    """Targets in the task's dtype, and the number of classes (0 for regression)."""
    regression = task == "graph_regression"
    part, kind = ("graph_attributes", "f") if regression else ("graph_labels", "i")
    values = table.rows(part, kind, num_graphs, "graph_indicator")
    if values.shape[1] != 1:
        raise DataError(f"{table.path(part)}: has {values.shape[1]} targets per graph; one is predicted")
    if regression:
        return torch.from_numpy(values[:, 0].copy()), 0
    labels, y = np.unique(values[:, 0], return_inverse=True)
    if labels.size < 2:
        raise DataError(f"{table.path(part)}: must hold at least 2 classes, got only {labels[0]}")
    return torch.from_numpy(y.astype(np.int64)), int(labels.size)


def _merged(key: NDArray[np.int64], features: Tensor) -> tuple[NDArray[np.int64], Tensor]:
    """The distinct keys of edges in ascending order, and for each the sum of the features of its edges."""
    kept, place = np.unique(key, return_inverse=True)
    return kept, features.new_zeros(kept.size, features.size(1)).index_add_(0, torch.from_numpy(place), features)


def _features(table: _Tables, what: str, rows: int, whole: str) -> Tensor | None:
    """Attributes of nodes or edges, then each column of their labels as one-hot columns, float32 [rows, F].

    `what`: node or edge; `whole`: the file that implies the number of rows. None if there are neither.
    """
    parts = []
    if table.has(f"{what}_attributes"):
        parts.append(torch.from_numpy(table.rows(f"{what}_attributes", "f", rows, whole)))
    if table.has(f"{what}_labels"):
        labels = torch.from_numpy(table.rows(f"{what}_labels", "i", rows, whole))
        lowest, highest = labels.min(dim=0).values, labels.max(dim=0).values
        width = sum(int(high) - int(low) + 1 for low, high in zip(lowest, highest, strict=True))
        if width > MOST_LABELS:
            rule = f"labels must span at most {MOST_LABELS} values"
            raise DataError(f"{table.path(f'{what}_labels')}: {rule}, they become columns, got {width}")
        parts += [one_hot(column).float() for column in (labels - lowest).unbind(dim=1)]
    return torch.cat(parts, dim=1) if parts else None


def _signs_of_a_cut(
    name: str, edges: NDArray[np.int64], owner: NDArray[np.int64], counts: NDArray[np.int64]
) -> tuple[str, ...]:
    """One warning if the edge list may be truncated: without labels or attributes of edges no file has their number.

    Signs of it: of all graphs only that of the last edge lacks reverse edges, or only graphs after it have no edges.
    Complete sets can have these signs too, though rarely; therefore it is a warning.
    """
    num_nodes, num_graphs, last = int(counts.sum()), counts.size, int(owner.max())
    source, target = edges.T - 1
    one_way = np.unique(owner[~np.isin(source * num_nodes + target, target * num_nodes + source)])
    empty = (np.bincount(owner, minlength=num_graphs) == 0) & (counts > 1)
    if one_way.tolist() == [last] or (empty[last + 1 :].any() and not empty[:last].any()):
        return (f"{name}: {name}_A.txt may have been cut: its edges end in graph {last + 1} of {num_graphs}",)
    return ()
