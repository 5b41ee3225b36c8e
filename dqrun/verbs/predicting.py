"""What an integer program says of graphs, as CSV: the work of `dqrun predict`. No Hydra, no training code."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import torch
import yaml
from torch import Tensor

from dqrun.config import DataConfig, DatasetConfig
from dqrun.data.dataset import GraphDataset, load_dataset
from dqrun.data.features import FeatureRule
from dqrun.data.unlabelled import is_graph_file, load_unlabelled
from dqrun.engine import Program
from dqrun.errors import ConfigError, DataError, ResultsError
from dqrun.groups import config_folder

GRAPHS_AT_ONCE = 1000


def find_graphs(words: Sequence[str], program: Program) -> GraphDataset:
    """The graphs that `--dataset` names; raises ConfigError or DataError where there are none."""
    known: dict[str, Any] | None = program.origin.get("dataset")
    if known is None:
        raise DataError("the program does not say how features are made: dqrun export writes one that does")
    trained_on, (first, *rest) = DatasetConfig(**known), words
    if rest or is_graph_file(first):
        return load_unlabelled([Path(word) for word in words], trained_on.task).dataset
    return load_dataset(find_config(first, trained_on), DataConfig())


def find_config(name: str, trained_on: DatasetConfig) -> DatasetConfig:
    """The configuration of a dataset by its name or folder; raises ConfigError where there is none."""
    if name.lower() == trained_on.name.lower():
        return trained_on
    options = {file.stem: file for file in sorted((config_folder() / "dataset").glob("*.yaml"))}
    if name not in options and Path(name).is_dir():
        return DatasetConfig(name=name, source="folder", task=trained_on.task, path=name)
    if name not in options:
        rule = f"name a folder, a graph file, {trained_on.name} or one of {', '.join(options)}"
        raise ConfigError.rule("--dataset", rule, name)
    values = yaml.safe_load(options[name].read_text(encoding="utf-8"))
    config = DatasetConfig(**{key: value for key, value in values.items() if key != "defaults"})
    config.validate()
    return config


def predict(program: Program, dataset: GraphDataset) -> Tensor:
    """Logits of all graphs, float32 [G, C], or of all nodes of a node task, [N, C].

    Raises DataError for a dataset of the other level, or without the features that the program was trained on.
    """
    if dataset.is_node_task == program.signature.graph_level:
        rows = ("a node", "a graph") if dataset.is_node_task else ("a graph", "a node")
        raise DataError(f"{dataset.name} has one target for {rows[0]}, the program one for {rows[1]}")
    features = FeatureRule(**program.origin["features"]).apply(dataset)
    packed = dataset.packed.with_self_loops() if program.self_loops else dataset.packed
    parts = []
    for first in range(0, dataset.num_graphs, GRAPHS_AT_ONCE):
        graph, node_index = packed.gather(torch.arange(first, min(first + GRAPHS_AT_ONCE, dataset.num_graphs)))
        x = features.gather(node_index)
        program.check_features(x)
        parts.append(program.run(x, graph))
    return torch.cat(parts)


def write_predictions(stream: TextIO, logits: Tensor, dataset: GraphDataset, program: Program) -> None:
    """CSV with a header: `graph` or `node`, `prediction`, for classes `logit_0`..., `target` where it is known."""
    regression = dataset.task == "graph_regression"
    predictions = logits.squeeze(-1) if regression else logits.argmax(-1)
    columns: dict[str, Tensor] = {
        "graph" if program.signature.graph_level else "node": torch.arange(logits.size(0)),
        "prediction": predictions,
    }
    if not regression:
        columns |= {f"logit_{c}": logits[:, c] for c in range(logits.size(1))}
    if dataset.y.size(0) == logits.size(0):
        columns["target"] = dataset.y
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*(_texts(column) for column in columns.values()), strict=True))


def _texts(column: Tensor) -> list[str]:
    """Values as text; float32 with the nine digits that tell all of them apart."""
    return [f"{value:.9g}" if column.is_floating_point() else str(value) for value in column.tolist()]


@contextmanager
def opened(path: str | None) -> Iterator[TextIO]:
    """A file to write, or standard output; raises ResultsError where it cannot be written."""
    if path is None:
        yield sys.stdout
        return
    try:
        with open(path, "w", encoding="utf-8", newline="") as stream:
            yield stream
    except OSError as error:
        raise ResultsError(f"-o must name a file that can be written, got {path!r} ({error.strerror})") from None
