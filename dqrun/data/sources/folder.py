"""The user's own graphs: a folder with CSV or Parquet files or one NumPy archive (docs/reference/folder_format.md)."""

from __future__ import annotations

import os
from pathlib import Path

from dqrun.config import DataConfig, DatasetConfig
from dqrun.config.tasks import is_node_task
from dqrun.data.dataset import GraphDataset
from dqrun.data.sources.folder_content import UserGraphs, edge_warnings
from dqrun.errors import ConfigError, DataError
from dqrun.paths import user_path

NODE_TABLES = ("nodes.csv", "nodes.parquet")


def load(dataset: DatasetConfig, data: DataConfig) -> GraphDataset:
    """Reads and checks `dataset.path`; the files are read in place, nothing is cached.

    Raises ConfigError if the path is no folder, and DataError with file, line and rule for content that breaks a rule.
    """
    if dataset.path is None:
        raise ConfigError.rule("dataset.path", "name a folder for dataset=folder", dataset.path)
    folder = user_path(dataset.path)
    if not os.path.isdir(folder):  # unlike Path.is_dir it raises no error for invalid names
        raise ConfigError.rule("dataset.path", "be an existing folder", dataset.path)
    content = _read(folder, dataset.task)
    arrays = content.arrays(is_node_task(dataset.task), edge_warnings(content))
    return arrays.dataset(dataset.name, dataset.task, f"{dataset.name} is read from {folder}")


def _read(folder: Path, task: str) -> UserGraphs:
    """The content of the archive or of the tables, whichever the folder has."""
    from dqrun.data.sources.folder_csv import read_graphs, read_nodes
    from dqrun.data.sources.folder_npz import read_npz

    if archive_of(folder) is not None:
        return read_npz(folder / "data.npz", task)
    return read_nodes(folder, task) if is_node_task(task) else read_graphs(folder, task)


def archive_of(folder: Path) -> Path | None:
    """The archive of a user's folder, or None if it has tables. Raises DataError if it has both or neither."""
    archive = folder / "data.npz"
    tables = [name for name in NODE_TABLES if (folder / name).is_file()]
    if archive.is_file() and tables:
        raise DataError(f"{folder}: must hold data.npz or {tables[0]}, not both")
    if not archive.is_file() and not tables:
        raise DataError(f"{folder}: must hold data.npz, or nodes.csv and edges.csv")
    return archive if archive.is_file() else None
