"""Citation networks Cora, CiteSeer and PubMed with their public split (Yang et al., ICML 2016: Planetoid)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from dqrun.config import DataConfig, DatasetConfig
from dqrun.data.arrays import GraphArrays
from dqrun.data.dataset import GraphDataset
from dqrun.data.downloads import of_pyg
from dqrun.data.number_text import float32, read_numbers
from dqrun.data.pickled_arrays import PLAIN, array, csr
from dqrun.data.raw_files import RawContent, RawFiles, load_raw, unreadable
from dqrun.data.unpickling import unpickle
from dqrun.errors import ConfigError, DataError

NAMES = ("Cora", "CiteSeer", "PubMed")
PICKLES = ("x", "tx", "allx", "y", "ty", "ally", "graph")
NUM_VAL = 500  # nodes of the validation part; they follow the training nodes
MOST_ELEMENTS = 2**30  # of the feature matrix, which is made dense


def load(dataset: DatasetConfig, data: DataConfig) -> GraphDataset:
    """The network as one graph; x: bag of words (PubMed: TF-IDF) float32 [N, F], y: int64 [N].

    Loops and repeated edges are removed, as in PyG's `Planetoid`. Raises ConfigError for another name or task,
    DataError for files that are missing or broken.
    """
    if dataset.name not in NAMES:
        raise ConfigError.rule("dataset.name", f"be one of {', '.join(NAMES)}", dataset.name)
    if dataset.task != "node_classification":
        raise ConfigError.rule("dataset.task", f"be node_classification for {dataset.name}", dataset.task)
    prefix = f"ind.{dataset.name.lower()}"
    files = RawFiles(
        folder=dataset.name,
        required=tuple(f"{prefix}.{part}" for part in (*PICKLES, "test.index")),
        fetch=of_pyg("Planetoid", name=dataset.name),
    )
    return load_raw(files, data, lambda raw: parse(raw, prefix)).dataset(dataset.name, dataset.task)


def parse(raw: RawContent, prefix: str) -> GraphArrays:
    """The network. Raises DataError that names the first file that cannot be read or does not match the others.

    Rows of `allx` and `ally` are nodes 0, 1, ...; the first of them are the training nodes. Rows of `tx` and `ty` are
    the later nodes, which `test.index` lists. Nodes that no file lists (CiteSeer has 15) have no words and class 0.
    """
    parts = {part: _matrix(raw, prefix, part) for part in PICKLES if part != "graph"}
    for features, labels in (("x", "y"), ("tx", "ty"), ("allx", "ally")):
        if len(parts[features]) != len(parts[labels]):
            raise DataError(
                f"{raw.path(f'{prefix}.{features}')} and .{labels} must hold matrices with equally many rows"
            )
    known, training = len(parts["allx"]), len(parts["y"])
    test = _test_nodes(raw, prefix, len(parts["tx"]), known)
    if training + NUM_VAL > known:
        raise DataError(f"{raw.path(f'{prefix}.allx')}: must have {training + NUM_VAL} rows or more, got {known}")
    num_nodes = int(test.max()) + 1
    x, y = (_rows(raw, prefix, parts, name, test, num_nodes) for name in ("x", "y"))
    edges = _edges(raw, prefix, num_nodes)
    classes = torch.from_numpy(y).max(dim=1).indices
    return GraphArrays(
        edge_index=torch.from_numpy(edges),
        node_counts=torch.tensor([num_nodes]),
        edge_counts=torch.tensor([edges.shape[1]]),
        y=classes,
        num_classes=int(classes.max()) + 1,
        x=torch.from_numpy(x),
        train=torch.arange(training),
        val=torch.arange(training, training + NUM_VAL),
        test=torch.from_numpy(np.sort(test)),
    )


def _rows(
    raw: RawContent, prefix: str, parts: dict[str, NDArray[np.float32]], name: str, test: NDArray[np.int64], nodes: int
) -> NDArray[np.float32]:
    """The rows of all nodes, float32 [N, F]; 0 for nodes that no file lists."""
    rest, tested = parts[f"all{name}"], parts[f"t{name}"]
    if rest.shape[1] != tested.shape[1]:
        raise DataError(f"{raw.path(f'{prefix}.t{name}')} and .all{name} must hold matrices with equally many columns")
    rows = np.zeros((nodes, rest.shape[1]), dtype=np.float32)
    rows[: len(rest)] = rest
    rows[test] = tested
    return rows


def _test_nodes(raw: RawContent, prefix: str, number: int, known: int) -> NDArray[np.int64]:
    """The node of each row of `tx`, int64 [T]."""
    file = f"{prefix}.test.index"
    nodes: NDArray[np.int64] = read_numbers(raw.path(file), raw.content[file], "i", columns=1)[:, 0]
    if nodes.size != number:
        raise DataError(f"{raw.path(file)} must name {number} test nodes (rows of .tx), got {nodes.size}")
    if np.unique(nodes).size < nodes.size or nodes.min() != known or nodes.max() >= known + 2 * nodes.size:
        rule = f"must name each node once, from {known} on, the number of rows of .allx"
        raise DataError(f"{raw.path(file)} {rule}, got {nodes.min()}..{nodes.max()}")
    return nodes


def _edges(raw: RawContent, prefix: str, num_nodes: int) -> NDArray[np.int64]:
    """Source and target of each edge once, int64 [2, E], in ascending order; no loops."""
    path = raw.path(f"{prefix}.graph")
    graph = _unpickled(raw, f"{prefix}.graph")
    if not isinstance(graph, dict) or not all(isinstance(ends, list) for ends in graph.values()):
        raise DataError(f"{path} must hold a dict of neighbour lists")
    ends = [(node, other) for node, others in graph.items() for other in others]
    if not all(type(one) is int and type(other) is int and min(one, other) >= 0 for one, other in ends):
        raise DataError(f"{path} must name nodes by integers >= 0")
    if not ends or max(map(max, ends)) >= num_nodes:
        raise DataError(f"{path} must name nodes in 0..{num_nodes - 1}, and one edge at least")
    source, target = np.array(ends, dtype=np.int64).T
    kept = np.unique(source[source != target] * num_nodes + target[source != target])
    return np.stack([kept // num_nodes, kept % num_nodes])


def _matrix(raw: RawContent, prefix: str, part: str) -> NDArray[np.float32]:
    """A pickled matrix (dense or CSR) as a dense array of finite float32; raises DataError."""
    path, value = raw.path(f"{prefix}.{part}"), _unpickled(raw, f"{prefix}.{part}")
    try:
        pieces = csr(value)
        if pieces is not None:
            data, indices, indptr, shape = pieces
            if shape[0] * shape[1] > MOST_ELEMENTS:
                raise ValueError(f"a matrix of shape {list(shape)} is too large")
            dense: NDArray[Any] = csr_matrix((data, indices, indptr), shape=shape).toarray()
        else:
            dense = array(value)
        if dense.ndim != 2 or not dense.size:
            raise ValueError(f"it must hold a matrix, got shape {list(dense.shape)}")
    except ValueError as error:
        raise unreadable(path, error) from error
    values = float32(dense.astype(np.float64))
    if values is None:
        raise DataError(f"{path}: values must be finite numbers in float32")
    return values


def _unpickled(raw: RawContent, file: str) -> Any:
    try:
        return unpickle(raw.content[file], PLAIN)
    except ValueError as error:
        raise unreadable(raw.path(file), error) from error
