"""Loads the graphs of `dqrun predict --dataset`: a folder or files of the user, or a dataset by its name."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import yaml

from dqrun.composition.groups import config_folder
from dqrun.config import DataConfig, DatasetConfig
from dqrun.config.tasks import is_node_task
from dqrun.data.dataset import GraphDataset
from dqrun.data.stored import load_stored
from dqrun.data.unlabelled import Unlabelled, is_graph_file, load_unlabelled
from dqrun.errors import ConfigError, DataError
from dqrun.paths import real_path, user_path

TABLES = ("nodes.csv", "nodes.parquet", "data.npz")
"""A folder with one of these files contains graphs."""


def find_graphs(words: Sequence[str], trained_on: DatasetConfig, say: Callable[[str], None]) -> Unlabelled:
    """Loads the graphs of `words`: files, one folder, or one dataset. `trained_on`: the dataset of the network.

    If a folder and a dataset have the same name, the folder is used, and `say` gets a line. Raises ConfigError for an
    unknown name, DataError for missing or wrong files, and if only one of dataset and network is for whole graphs.
    """
    (first, *rest), task = words, trained_on.task
    if rest or is_graph_file(first):
        return load_unlabelled([user_path(word) for word in words], task)
    folder, config = user_path(first), _named(first, trained_on)
    if any(os.path.isfile(folder / name) for name in TABLES):
        if config is not None and not _same(folder, config.path):
            say(f"--dataset {first}: this is the folder {folder}, not the dataset of that name")
        return load_unlabelled([folder], task)
    if config is None and (len(folder.parts) != 1 or os.path.exists(folder)):
        return load_unlabelled([folder], task)
    if config is None:
        names = ", ".join(dict.fromkeys([trained_on.name, *_options()]))
        rule = f"name a folder or file that is there (no such file), or one of {names}"
        raise ConfigError.rule("--dataset", rule, first)
    _require_level(config, task)
    if config.source == "folder" and config.path is not None:
        return load_unlabelled([user_path(config.path)], task)
    return _with_positions(load_stored(config, DataConfig()))


def _require_level(config: DatasetConfig, task: str) -> None:
    """Raises DataError for a node dataset if the task of the network is one for graphs, or vice versa."""
    of_nodes = [is_node_task(each) for each in (config.task, task)]
    if of_nodes[0] != of_nodes[1]:
        dataset, network = ("a node" if nodes else "a graph" for nodes in of_nodes)
        raise DataError(f"{config.name} has one target for {dataset}, the network one for {network}")


def _named(name: str, trained_on: DatasetConfig) -> DatasetConfig | None:
    """The configuration of the dataset `name`: that of the training, else a preset; None if there is none."""
    if name.lower() == trained_on.name.lower():
        return trained_on
    path = _options().get(name)
    if path is None:
        return None
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    config = DatasetConfig(**{key: value for key, value in values.items() if key != "defaults"})
    config.validate()
    return config


def _options() -> dict[str, Path]:
    """The presets of datasets that need no further settings, by name."""
    files = sorted((config_folder() / "dataset").glob("*.yaml"))
    return {file.stem: file for file in files if file.stem != "folder"}


def _with_positions(dataset: GraphDataset) -> Unlabelled:
    """The dataset with positions as ids of its graphs and nodes."""
    labels = dataset.y.tolist()
    texts = [f"{label:.9g}" if isinstance(label, float) else str(label) for label in labels]
    return Unlabelled(dataset, np.arange(dataset.num_nodes), np.arange(dataset.num_graphs), texts)


def _same(folder: Path, path: str | None) -> bool:
    return path is not None and real_path(path) == real_path(folder)
