"""Citation networks Cora, CiteSeer and PubMed with their public split (PyG's `Planetoid`)."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dqrun.config import DataConfig, DatasetConfig
from dqrun.data.dataset import GraphDataset
from dqrun.data.mirror import RawFiles, load_pyg, unreadable
from dqrun.data.packed import PackedGraphs
from dqrun.data.splits import Split
from dqrun.errors import ConfigError, DataError

NAMES = ("Cora", "CiteSeer", "PubMed")
PICKLES = ("x", "tx", "allx", "y", "ty", "ally", "graph")


def load(dataset: DatasetConfig, data: DataConfig) -> GraphDataset:
    """The network as one graph; x: bag of words (PubMed: TF-IDF) float32 [N, F], y: int64 [N].

    Raises ConfigError for another name or task, DataError for files that are missing or broken.
    """
    if dataset.name not in NAMES:
        raise ConfigError.rule("dataset.name", f"be one of {', '.join(NAMES)}", dataset.name)
    if dataset.task != "node_classification":
        raise ConfigError.rule("dataset.task", f"be node_classification for {dataset.name}", dataset.task)
    prefix = f"ind.{dataset.name.lower()}"
    files = RawFiles(
        folder=dataset.name,
        required=tuple(f"{prefix}.{part}" for part in (*PICKLES, "test.index")),
        check=lambda raw: check(raw, prefix),
    )
    stored = load_pyg("Planetoid", files, data, {"name": dataset.name})[0]._data
    edges, num_nodes = stored.edge_index, torch.tensor([stored.num_nodes])
    masks = (stored.train_mask, stored.val_mask, stored.test_mask)
    return GraphDataset(
        name=dataset.name,
        task=dataset.task,
        packed=PackedGraphs.from_edges(edges, num_nodes, torch.tensor([edges.size(1)])),
        y=stored.y,
        num_classes=int(stored.y.max()) + 1,
        x=stored.x,
        official=Split(*(mask.nonzero().flatten() for mask in masks)),
    )


def check(raw: Path, prefix: str) -> None:
    """Raises DataError naming the first file that does not unpickle or does not fit its partner."""
    parts = {part: _unpickle(raw / f"{prefix}.{part}") for part in PICKLES}
    for features, labels in (("x", "y"), ("tx", "ty"), ("allx", "ally")):
        x, y = parts[features], parts[labels]
        if getattr(x, "ndim", 0) != 2 or getattr(y, "ndim", 0) != 2 or x.shape[0] != y.shape[0]:
            raise DataError(f"{raw / f'{prefix}.{features}'} and .{labels} must hold matrices with equally many rows")
    if not isinstance(parts["graph"], dict):
        raise DataError(f"{raw / f'{prefix}.graph'} must hold a dict of neighbour lists")
    index_file = raw / f"{prefix}.test.index"
    try:
        rows = np.loadtxt(index_file, dtype=np.int64, ndmin=1)
    except (OSError, ValueError) as error:
        raise unreadable(index_file, error) from error
    if rows.size != parts["tx"].shape[0]:
        raise DataError(f"{index_file} must name {parts['tx'].shape[0]} test nodes (rows of .tx), got {rows.size}")


def _unpickle(path: Path) -> Any:
    try:
        with warnings.catch_warnings(), path.open("rb") as file:
            warnings.simplefilter("ignore")  # old pickles name modules that scipy has moved
            return pickle.load(file, encoding="latin1")
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise unreadable(path, error) from error
