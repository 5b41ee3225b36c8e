"""The formats of graphs to predict. Readers return the graphs and, if the files have labels, the labels as text.

Readers raise DataError, in one line, that names the file and the rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load
from torch import Tensor

from dqrun.config.tasks import is_node_task
from dqrun.data.archives import read_npy
from dqrun.data.edge_arrays import EDGE_ARRAYS, edge_data
from dqrun.data.sources.folder import archive_of
from dqrun.data.sources.folder_content import Floats, Ints, UserGraphs
from dqrun.data.sources.folder_csv import edge_data as table_edge_data
from dqrun.data.sources.folder_csv import edge_table, graph_structure, graph_table, node_structure, node_table
from dqrun.data.sources.folder_labels import label_columns
from dqrun.data.sources.folder_npz import Archive, npz_structure
from dqrun.data.sources.folder_table import ID, NUMBER, WORD, Table
from dqrun.data.torch_files import LazyTensor, PyGObject, SparseTensor, as_tensor, read_torch
from dqrun.errors import DataError

Labels = list[str] | None
USED = ("x", "edge_index", "batch", "y", "num_nodes", *EDGE_ARRAYS)
MOST_NODES_PER_EDGE = 100  # if only the edges imply the number of nodes


def read_folder(folder: Path, task: str) -> tuple[UserGraphs, Labels]:
    """A folder in dqrun's format, with tables or with `data.npz`; labels may be missing."""
    archive = archive_of(folder)
    if archive is not None:
        return read_archive(archive, is_node_task(task))
    if is_node_task(task):
        nodes = node_table(folder, task, WORD)
        return node_structure(folder, nodes), _labels(nodes, task)
    if not (folder / "graphs.csv").is_file():
        return graph_structure(folder, None), None
    graphs = graph_table(folder, task, WORD)
    return graph_structure(folder, graphs), _labels(graphs, task)


def _labels(table: Table, task: str) -> Labels:
    columns = [table.values[name].tolist() for name in label_columns(table, task)]
    return [";".join(words) for words in zip(*columns, strict=True)] if columns else None


def read_archive(path: Path, of_nodes: bool) -> tuple[UserGraphs, Labels]:
    """An archive with the arrays of `data.npz`."""
    archive = Archive.open(path)
    if "batch" in archive.arrays:
        graph_ids, node_graph = np.unique(archive.integers("batch", 1), return_inverse=True)
    else:
        graph_ids, node_graph = np.zeros(1, np.int64), np.zeros(_num_nodes_of(archive, of_nodes), np.int64)
    labels = None
    if "y" in archive.arrays:
        y = archive.numbers("y", archive.arrays["y"].ndim)
        labels = _labels_of(y, node_graph.size if of_nodes else graph_ids)
    return npz_structure(archive, node_graph, graph_ids), labels


def _num_nodes_of(archive: Archive, of_nodes: bool) -> int:
    """Number of nodes of an archive with one graph: from `x`, else `y` of a node task, else `edge_index`."""
    if "x" in archive.arrays:
        return len(archive.numbers("x", 2))
    if of_nodes and "y" in archive.arrays:
        return len(archive.arrays["y"])
    return _nodes_of_edges(archive.path, archive.integers("edge_index", 2))


def _nodes_of_edges(path: Path, edges: NDArray[Any]) -> int:
    """Number of nodes if the last one is the highest end of an edge; raises DataError if that is implausibly high."""
    number = int(edges.max()) + 1 if edges.size else 0
    if number > MOST_NODES_PER_EDGE * edges.shape[1]:
        raise DataError(f"{path}: x or batch must say how many nodes there are: edges name node {number - 1}")
    return number


def _labels_of(y: NDArray[Any], members: int | Ints) -> list[str]:
    """Labels as text: of nodes 0..members-1, or of the graphs with the ids `members`; empty beyond the end of y."""
    texts = [_text(value) for value in y.tolist()]
    places = range(members) if isinstance(members, int) else members.tolist()
    return [texts[place] if place < len(texts) else "" for place in places]


def _text(value: Any) -> str:
    """A target as text: several labels as 0, 1 or nothing, separated by `;`."""
    if not isinstance(value, list):
        return str(value)
    return ";".join("" if each != each else f"{each:g}" for each in value)


def read_edges_and_features(edges: Path, features: Path) -> UserGraphs:
    """One graph: a CSV file of edges, and a CSV or NPY file of features."""
    table = edge_table(edges, {"source": ID, "target": ID})
    x = _feature_table(features)
    graphs = _graphs(features, np.stack([table.ids("source"), table.ids("target")]), x, np.zeros(len(x), np.int64))
    return replace(graphs, **table_edge_data(table))


def _feature_table(path: Path) -> NDArray[Any]:
    """Features [N, F], or integers [N] as categories."""
    if path.suffix.lower() == ".csv":
        features = Table.read(path, {}, others=NUMBER).features()
        if features is None:
            raise DataError(f"{path}: line 1: a header with one column per feature is missing")
        return features
    try:
        return read_npy(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise DataError(f"{path}: {error}") from None


def read_tensors(path: Path, of_nodes: bool) -> tuple[UserGraphs, Labels]:
    """A file of tensors: named ones, PyG's `Data` or `Batch`, or a list of `Data`."""
    try:
        content = path.read_bytes()
        found = load(content) if path.suffix.lower() == ".safetensors" else _unpacked(read_torch(content))
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise DataError(f"{path}: must hold tensors and nothing else: {error}") from None
    except Exception:  # safetensors has its own exception class
        raise DataError(f"{path}: must hold tensors and nothing else: it is truncated or malformed") from None
    named = _joined(path, found) if isinstance(found, list) else found
    edges = _array(path, "edge_index", named, "iu", 2)
    if edges.shape[0] != 2:
        raise DataError(f"{path}: edge_index must be [2, E], got {list(edges.shape)}")
    x = None if named.get("x") is None else _array(path, "x", named, "biuf", 0)
    batch = _array(path, "batch", named, "iu", 1) if named.get("batch") is not None else None
    if batch is None:
        batch = np.zeros(_number(path, named, x, edges), np.int64)
    graph_ids, node_graph = np.unique(batch.astype(np.int64), return_inverse=True)
    graphs = _graphs(path, edges.astype(np.int64), x, node_graph, graph_ids)
    given = {name: _array(path, name, named, "iuf", 0) for name in EDGE_ARRAYS if named.get(name) is not None}
    graphs = replace(graphs, **edge_data(str(path), given, graphs.num_edges))
    return graphs, _tensor_labels(named.get("y"), graphs, of_nodes)


def _unpacked(found: Any) -> Any:
    """A dict of named tensors, or a list with one dict for each graph; raises ValueError for anything else."""
    if isinstance(found, list | tuple) and found and all(isinstance(each, PyGObject | dict) for each in found):
        return [_unpacked(each) for each in found]
    found = found.mapping if isinstance(found, PyGObject) else found
    if not isinstance(found, dict):
        raise ValueError("a Data, a list of Data or a dictionary of tensors was expected")
    wanted = {str(name): value for name, value in found.items() if name in USED}
    return {
        name: as_tensor(value) if isinstance(value, LazyTensor | SparseTensor) else value
        for name, value in wanted.items()
    }


def _joined(path: Path, graphs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Joins separate graphs to one set of tensors with `batch`; with `y` if each graph has a tensor or number `y`."""
    numbers: list[int] = []
    edges, features, labels = [], [], []
    edge_values: dict[str, list[Any]] = {name: [] for name in EDGE_ARRAYS}
    for place, graph in enumerate(graphs):
        where = f"{path}: graph {place}"
        if graph.get("batch") is not None:
            raise DataError(f"{where}: must be one graph, without batch")
        own = _array(where, "edge_index", graph, "iu", 2)
        x = None if graph.get("x") is None else _array(where, "x", graph, "biuf", 0)
        number = _number(where, graph, x, own)
        _check_edges(where, own, number)
        if number == 0:
            raise DataError(f"{where}: must have a node")
        edges.append(torch.from_numpy(own + sum(numbers)))
        numbers.append(number)
        features.append(x)
        labels.append(graph.get("y"))
        for name, values in edge_values.items():
            values.append(None if graph.get(name) is None else _array(where, name, graph, "iuf", 0))
    if len({None if x is None else (x.dtype.kind == "f", x.shape[1:]) for x in features}) > 1:
        raise DataError(f"{path}: all graphs must have equally many features of one kind, or none")
    joined: dict[str, Any] = {
        "edge_index": torch.cat(edges, dim=1),
        "batch": torch.arange(len(numbers)).repeat_interleave(torch.tensor(numbers)),
    }
    if given := [x for x in features if x is not None]:
        joined["x"] = torch.from_numpy(np.concatenate(given))
    for name, values in edge_values.items():
        if len({None if each is None else (each.dtype.kind == "f", each.shape[1:]) for each in values}) > 1:
            raise DataError(f"{path}: all graphs must have {name} of one kind and width, or none")
        if values[0] is not None:
            joined[name] = torch.from_numpy(np.concatenate(values))
    if all(isinstance(label, Tensor | int | float) for label in labels):
        joined["y"] = torch.cat([torch.as_tensor(label).flatten() for label in labels])
    return joined


def _array(where: Path | str, name: str, named: dict[str, Any], kinds: str, dimensions: int) -> NDArray[Any]:
    """A tensor as an array; raises DataError unless its dtype is of `kinds` and it has `dimensions` (0: any)."""
    value = named.get(name)
    if not isinstance(value, Tensor):
        raise DataError(f"{where}: must hold a tensor {name!r}, got {', '.join(named) or 'none'}")
    array: NDArray[Any] = (value.float() if value.dtype in (torch.bfloat16, torch.float16) else value).numpy()
    if array.dtype.kind not in kinds or (dimensions and array.ndim != dimensions):
        rule = "integers" if kinds == "iu" else "numbers"
        shape = f" in {dimensions} dimensions" if dimensions else ""
        raise DataError(f"{where}: {name} must hold {rule}{shape}, got {value.dtype} {list(value.shape)}")
    return array


def _number(where: Path | str, named: dict[str, Any], x: NDArray[Any] | None, edges: NDArray[Any]) -> int:
    """Number of nodes of one graph: from `x`, else a plausible `num_nodes`, else the edges."""
    if x is not None and x.ndim:
        return len(x)
    given = named.get("num_nodes")
    if isinstance(given, int) and 0 < given <= MOST_NODES_PER_EDGE * (edges.shape[-1] + 10):
        return given
    return _nodes_of_edges(Path(where), edges)


def _check_edges(where: Path | str, edges: NDArray[Any], number: int) -> None:
    if edges.size and not 0 <= int(edges.min()) <= int(edges.max()) < number:
        got = f"{int(edges.min())}..{int(edges.max())}"
        raise DataError(f"{where}: edge_index must name nodes in 0..{number - 1}, got {got}")


def _graphs(
    path: Path, edges: Ints, x: NDArray[Any] | None, node_graph: Ints, graph_ids: Ints | None = None
) -> UserGraphs:
    """Checks that edges and features fit the nodes; a single column of integers >= 0 is also stored as categories."""
    number = node_graph.size
    if not number:
        raise DataError(f"{path}: must hold a node")
    _check_edges(path, edges, number)
    crossing = np.flatnonzero(node_graph[edges[0]] != node_graph[edges[1]])
    if crossing.size:
        raise DataError(f"{path}: edge_index[{crossing[0]}]: an edge must join nodes of one graph of batch")
    features, category = (None, None) if x is None else _features(path, x, number)
    return UserGraphs(
        edge_index=edges,
        node_graph=node_graph,
        x=features,
        category=category,
        node_ids=np.arange(number),
        graph_ids=np.zeros(1, np.int64) if graph_ids is None else graph_ids.astype(np.int64),
    )


def _features(path: Path, x: NDArray[Any], number: int) -> tuple[Floats, Ints | None]:
    """Features float32 [N, F], and categories int64 [N] if x is one integer >= 0 per node, else None."""
    columns = x.reshape(len(x), -1) if x.ndim == 1 and x.dtype.kind in "biu" else x
    if columns.ndim != 2 or len(columns) != number:
        rule = f"x must be [{number}, F], a row per node, or integers [{number}]"
        raise DataError(f"{path}: {rule}, got {list(x.shape)}")
    with np.errstate(over="ignore"):
        rounded = columns.astype(np.float32)
    if (broken := np.argwhere(~np.isfinite(rounded))).size:
        row, column = broken[0]
        got = f"got {columns[row, column]}"
        raise DataError(f"{path}: x[{row}, {column}] must be a finite number in float32, {got}")
    is_category = columns.dtype.kind in "biu" and columns.shape[1] == 1 and int(columns.min()) >= 0
    return rounded, columns[:, 0].astype(np.int64) if is_category else None


def _tensor_labels(y: Any, graphs: UserGraphs, of_nodes: bool) -> Labels:
    """Labels as text; None unless y has one element per graph (node tasks: per node)."""
    if not isinstance(y, Tensor) or y.dtype in (torch.bfloat16, torch.float16):
        return None
    values = y.flatten().tolist()
    if len(values) == (graphs.node_graph.size if of_nodes else graphs.graph_ids.size):
        return [str(value) for value in values]
    return None
