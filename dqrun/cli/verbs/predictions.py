"""Computes predictions for graphs in batches, and writes them and their embeddings to files."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np
import torch
from torch import Tensor

from dqrun.config.tasks import kind_of
from dqrun.data.unlabelled import Unlabelled
from dqrun.durable import replacing
from dqrun.errors import ConfigError, ResultsError
from dqrun.prediction.predictors import Predictor

GRAPHS_AT_ONCE = 1000
EMBEDDINGS = (".npy", ".csv")


@dataclass(frozen=True)
class Predictions:
    """One row for each graph, or for each node of a node task: R rows.

    `names`: the user's ids, int64 [R]. `logits`: float32 [R, C]. `embeddings`: float32 [R, H], or None.
    `labels`: the user's text for each row, "" for no label; None without any labels.
    """

    kind: str  # graph or node
    names: np.ndarray[tuple[int], np.dtype[np.int64]]
    logits: Tensor
    embeddings: Tensor | None
    labels: list[str] | None
    task: str
    class_names: tuple[str, ...]


def predict(predictor: Predictor, graphs: Unlabelled, embeddings: bool) -> Predictions:
    """Runs the network on all graphs.

    Raises DataError for graphs that lack the features of the training, ConfigError for embeddings of a program or of a
    user's whole network.
    """
    dataset = graphs.dataset
    features = predictor.rule.apply(dataset)
    packed = predictor.rule.structure(dataset, predictor.self_loops)
    outputs = []
    for first in range(0, dataset.num_graphs, GRAPHS_AT_ONCE):
        graph, node_index = packed.gather(torch.arange(first, min(first + GRAPHS_AT_ONCE, dataset.num_graphs)))
        outputs.append(predictor.run(features.gather(node_index), graph, embeddings))
    states = [state for _, state in outputs if state is not None]
    return Predictions(
        kind="graph" if predictor.graph_level else "node",
        names=graphs.graph_ids if predictor.graph_level else graphs.node_ids,
        logits=torch.cat([logits for logits, _ in outputs]),
        embeddings=torch.cat(states) if states else None,
        labels=graphs.labels,
        task=predictor.trained_on.task,
        class_names=predictor.rule.class_names,
    )


def write_predictions(stream: TextIO, found: Predictions) -> None:
    """Writes CSV with the columns `graph` or `node`, `prediction`, for classes `logit_0`..., with labels `target`.

    Names of classes from the training replace their numbers. In a multilabel task each label has its own columns
    `prediction_NAME` (0 or 1), `logit_NAME` and, with labels, `target_NAME`.
    """
    columns: dict[str, Iterable[str]] = {found.kind: map(str, found.names.tolist())}
    kind, outputs = kind_of(found.task), found.logits.size(1)
    names = found.class_names or tuple(map(str, range(outputs)))
    if kind == "regression":
        columns["prediction"] = _texts(found.logits.squeeze(-1))
    elif kind == "classification":
        columns["prediction"] = [names[c] for c in found.logits.argmax(-1).tolist()]
    else:
        said = (found.logits > 0).long().t().tolist()
        columns |= {f"prediction_{name}": map(str, said[c]) for c, name in enumerate(names)}
    if kind != "regression":
        columns |= {f"logit_{name}": _texts(found.logits[:, c]) for c, name in enumerate(names)}
    _write(stream, columns | _target_columns(found, names))


def _target_columns(found: Predictions, names: Sequence[str]) -> dict[str, Iterable[str]]:
    """The columns of the user's labels; {} without labels, or if their number does not fit the task."""
    if found.labels is None or not any(label.strip(";") for label in found.labels):
        return {}
    if kind_of(found.task) != "multilabel":
        return {"target": found.labels}
    parted = [label.split(";") for label in found.labels]
    if any(len(each) != len(names) for each in parted):
        return {}
    return {f"target_{name}": [each[c] for each in parted] for c, name in enumerate(names)}


def check_embeddings_file(path: str) -> None:
    """Raises ConfigError unless the suffix is one of EMBEDDINGS."""
    if Path(path).suffix.lower() not in EMBEDDINGS:
        raise ConfigError.rule("--embeddings", f"end in {' or '.join(EMBEDDINGS)}", path)


def write_embeddings(path: str, found: Predictions) -> None:
    """Writes the embeddings in the order of the predictions: as NPY float32 [R, H], or as CSV after the column of ids.

    Raises ResultsError if the file cannot be written.
    """
    assert found.embeddings is not None
    if Path(path).suffix.lower() == ".csv":
        with opened(path, "--embeddings") as stream:
            columns = {f"e{i}": _texts(found.embeddings[:, i]) for i in range(found.embeddings.size(1))}
            _write(stream, {found.kind: map(str, found.names.tolist()), **columns})
        return
    with _written("--embeddings", path), replacing(path) as part:
        np.save(part, found.embeddings.numpy())


def _write(stream: TextIO, columns: dict[str, Iterable[str]]) -> None:
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))


def _texts(column: Tensor) -> list[str]:
    """Each number with nine significant digits, which distinguish all float32 numbers."""
    return [f"{value:.9g}" for value in column.tolist()]


@contextmanager
def opened(path: str | None, option: str) -> Iterator[TextIO]:
    """Yields a file that replaces `path` after the block, or standard output for None; raises ResultsError.

    `option`: the option with the path, for the error.
    """
    if path is None:
        yield sys.stdout
        return
    with (
        _written(option, path),
        replacing(path) as part,
        part.open("w", encoding="utf-8", newline="") as stream,
    ):
        yield stream


@contextmanager
def _written(option: str, path: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:  # ValueError: a null character
        reason = getattr(error, "strerror", None) or error
        raise ResultsError(f"{option} must name a file that can be written, got {path!r} ({reason})") from None
