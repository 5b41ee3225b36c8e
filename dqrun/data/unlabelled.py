"""Graphs to predict: a user's folder or file, whose labels may be missing, partial, or of unknown classes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from dqrun.config.tasks import is_node_task
from dqrun.data.dataset import GraphDataset
from dqrun.data.sources.folder_content import Ints, UserGraphs
from dqrun.errors import DataError

TENSORS, TABLES = (".safetensors", ".pt", ".pth"), (".csv", ".npy")
SUFFIXES = (*TENSORS, *TABLES, ".npz")


@dataclass(frozen=True)
class Unlabelled:
    """Graphs to predict, with the user's ids; G graphs with N nodes in all.

    `dataset`: input of `FeatureRule.apply` and `PackedGraphs.gather`; its `y` is empty. `node_ids`: int64 [N], in
    the order of the dataset's nodes (by graph, and in the order of the file within each). `graph_ids`: int64 [G].
    `graph_of_node`: int64 [N], position of each node's graph. `labels`: of each graph, or of each node for node tasks,
    as text; empty if it is missing; several labels are separated by `;`. None: there are no labels at all.
    """

    dataset: GraphDataset
    node_ids: Ints
    graph_ids: Ints
    labels: list[str] | None

    @property
    def graph_of_node(self) -> Ints:
        return np.repeat(np.arange(self.dataset.num_graphs), self.dataset.packed.node_ptr.diff().numpy())


def is_graph_file(word: str) -> bool:
    """Whether a word of the command line has a suffix of the files that `load_unlabelled` reads; the file need not
    exist."""
    return Path(word).suffix.lower() in SUFFIXES


def load_unlabelled(paths: Sequence[Path], task: str) -> Unlabelled:
    """Reads the graphs to predict; `task` (as `dataset.task`): whether graphs or nodes are predicted.

    `paths` is one of:

    * a folder in dqrun's format. `label` and `split` (`y`, `train`, `val`, `test` of an archive) may be missing,
      partial or unknown; `graphs.csv` may be missing too. Ids are those of `nodes.csv` and `graphs.csv`.
    * an archive `.npz` with the arrays of `data.npz`. The ids of nodes are their rows, those of graphs the numbers in
      `batch` (any integers >= 0; without `batch` there is one graph, 0).
    * a file of tensors, `.safetensors`, `.pt` or `.pth`: `edge_index` [2, E], `x` ([N, F], or integers [N] as
      categories; may be missing), `batch` [N] (any integers), `y`, `edge_weight`, `edge_attr`. A `.pt` may also hold
      PyG's `Data` or `Batch`, or a list of `Data`, whose positions are the ids of graphs. No code in it is run.
    * two files of one graph: edges as CSV with `source,target`, then features as CSV with a header or as NPY, one row
      per node.

    Raises DataError, in one line, that names the file and the rule: no such file, another format, objects that would
    run code, sparse tensors, edges to nodes that do not exist, features that are not finite in float32.
    """
    for path in paths:
        if not os.path.exists(path):
            raise DataError(f"{path}: no such file or folder")
    first, of_nodes = paths[0], is_node_task(task)
    graphs, labels = _read([Path(path) for path in paths], task)
    dataset = replace(graphs.arrays(of_nodes).dataset(first.name, task), y=torch.empty(0))
    members = graphs.order if of_nodes else np.arange(dataset.num_graphs)
    return Unlabelled(
        dataset=dataset,
        node_ids=graphs.node_ids[graphs.order],
        graph_ids=graphs.graph_ids,
        labels=None if labels is None else [labels[member] for member in members.tolist()],
    )


def _read(paths: list[Path], task: str) -> tuple[UserGraphs, list[str] | None]:
    """The graphs, and the labels in the order of the file."""
    from dqrun.data import unlabelled_files as files

    first, *rest = paths
    suffix = first.suffix.lower()
    if suffix == ".csv" or rest:
        if len(paths) != 2 or suffix != ".csv" or rest[0].suffix.lower() not in TABLES:
            names = " ".join(map(str, paths))
            raise DataError(f"one graph must be given as edges.csv and features.csv or features.npy, got {names}")
        return files.read_edges_and_features(first, rest[0]), None
    if first.is_dir():
        return files.read_folder(first, task)
    if suffix == ".npz":
        return files.read_archive(first, is_node_task(task))
    if suffix in TENSORS:
        return files.read_tensors(first, is_node_task(task))
    raise DataError(f"{first}: must be a folder or a file that ends with {', '.join(SUFFIXES)}")
