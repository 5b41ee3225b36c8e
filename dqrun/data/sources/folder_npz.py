"""A user's NumPy archive, `data.npz`; docs/reference/folder_format.md describes the arrays, their types and sizes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dqrun.config.tasks import is_node_task, kind_of
from dqrun.data.archives import member_bytes, open_archive, read_npy
from dqrun.data.edge_arrays import EDGE_ARRAYS, edge_data
from dqrun.data.sources.folder_content import Floats, Ints, Place, Targets, UserGraphs, first_bad, targets
from dqrun.data.splits import PARTS
from dqrun.errors import DataError

ARRAYS = ("edge_index", "y", "x", "batch", *EDGE_ARRAYS, *PARTS)


def read_npz(path: Path, task: str) -> UserGraphs:
    """The content of an archive for training. Raises DataError for an array that is missing or breaks a rule."""
    archive = Archive.open(path)
    known = _targets(archive, task)
    members = len(known.y)
    if not is_node_task(task):
        node_graph = _node_graph(archive, members)
    elif "batch" in archive.arrays:
        node_graph = _graph_of_nodes(archive, members)
    else:
        node_graph = np.zeros(members, dtype=np.int64)
    return npz_structure(archive, node_graph).labelled(known, _parts(archive, members))


def _targets(archive: Archive, task: str) -> Targets:
    """The array `y`: [G] or [N]; for multilabel tasks [G, L] or [N, L] with 0, 1 and nan."""
    if kind_of(task) != "multilabel":
        return Targets(*targets(archive.numbers("y", 1), kind_of(task) == "regression", archive.place("y")))
    y = archive.numbers("y", 2).astype(np.float32)
    if not y.size:
        raise DataError(f"{archive.path}: y must hold a label")
    wrong = ~((y == 0) | (y == 1) | np.isnan(y)).all(axis=1)
    first_bad(wrong, archive.place("y"), "labels must be 0, 1 or nan (not known)", y)
    return Targets(y, y.shape[1])


def _graph_of_nodes(archive: Archive, num_nodes: int) -> Ints:
    """The array `batch` of a node task, int64 [N]; raises DataError unless all of 0..G-1 occur."""
    batch = archive.integers("batch", 1)
    if len(batch) != num_nodes:
        raise DataError(f"{archive.path}: batch must have {num_nodes} elements, one per node, got {len(batch)}")
    graphs = np.unique(batch)
    if graphs[-1] != graphs.size - 1:
        raise DataError(f"{archive.path}: batch must name graphs 0..G-1 without a gap")
    return batch


@dataclass(frozen=True)
class Archive:
    """Arrays of one file; its methods raise DataError that names the array and the element."""

    path: Path
    arrays: dict[str, NDArray[Any]]

    @classmethod
    def open(cls, path: Path) -> Archive:
        """Raises DataError for a file that cannot be read, is no archive of numbers, or holds other arrays."""
        try:
            archive = open_archive(path.read_bytes())
            names = {name.removesuffix(".npy"): name for name in archive.namelist()}
            for name in names:
                if name not in ARRAYS:
                    raise DataError(f"{path}: arrays must be among {', '.join(ARRAYS)}, got {name[:40]}")
            arrays = {}
            for name, member in names.items():
                try:
                    arrays[name] = read_npy(member_bytes(archive, member))
                except ValueError as error:
                    raise DataError(f"{path}: {name}: {error}") from None
        except FileNotFoundError:
            raise DataError(f"{path}: no such file") from None
        except OSError as error:
            raise DataError(f"{path}: cannot be read: {error.strerror}") from None
        except ValueError as error:
            raise DataError(f"{path}: not a NumPy archive ({error})") from None
        return cls(path, arrays)

    def place(self, name: str) -> Place:
        return lambda row: f"{self.path}: {name}[{row}]"

    def numbers(self, name: str, dimensions: int) -> NDArray[Any]:
        """An array of numbers with `dimensions` dimensions."""
        if name not in self.arrays:
            raise DataError(f"{self.path}: array {name} is missing")
        values = self.arrays[name]
        if values.ndim != dimensions or values.dtype.kind not in "iuf":
            raise DataError(
                f"{self.path}: {name} must hold numbers in {dimensions} dimensions, "
                f"got {values.dtype} with shape {list(values.shape)}"
            )
        return values

    def integers(self, name: str, dimensions: int) -> Ints:
        """An array of integers >= 0, int64."""
        values = self.numbers(name, dimensions)
        if values.dtype.kind == "f":
            raise DataError(f"{self.path}: {name} must hold integers, got {values.dtype}")
        with np.errstate(over="ignore"):
            result = values.astype(np.int64)  # uint64 beyond int64 becomes negative
        lowest = result if dimensions == 1 else result.min(axis=0, initial=0)
        first_bad(lowest < 0, self.place(name), "must be >= 0", lowest)
        return result


def npz_structure(archive: Archive, node_graph: Ints, graph_ids: Ints | None = None) -> UserGraphs:
    """The graphs without labels. `node_graph`: [N] graph of each node, 0..G-1; `graph_ids`: [G] the user's names."""
    edges = archive.integers("edge_index", 2)
    if edges.shape[0] != 2:
        raise DataError(f"{archive.path}: edge_index must have shape [2, E], got {list(edges.shape)}")
    if not node_graph.size:
        raise DataError(f"{archive.path}: must hold a node")
    outside = (edges[0] >= node_graph.size) | (edges[1] >= node_graph.size)
    place = archive.place("edge_index")
    first_bad(outside, place, f"an edge must join nodes 0..{node_graph.size - 1}", edges.T)
    first_bad(node_graph[edges[0]] != node_graph[edges[1]], place, "an edge must join nodes of one graph", edges.T)
    return UserGraphs(
        edge_index=edges,
        node_graph=node_graph,
        x=_features(archive, node_graph.size),
        node_ids=np.arange(node_graph.size),
        graph_ids=np.arange(int(node_graph.max()) + 1) if graph_ids is None else graph_ids,
        **edge_data(str(archive.path), archive.arrays, edges.shape[1]),
    )


def _node_graph(archive: Archive, num_graphs: int) -> Ints:
    """The array `batch`: the graph of each node, int64 [N]; each graph of `y` must have a node."""
    batch = archive.integers("batch", 1)
    first_bad(batch >= num_graphs, archive.place("batch"), f"must name one of the {num_graphs} graphs of y", batch)
    empty = np.bincount(batch, minlength=num_graphs) == 0
    first_bad(empty, archive.place("y"), "the graph must have a node in batch")
    return batch


def _features(archive: Archive, num_nodes: int) -> Floats | None:
    """The array `x`, float32 [N, F], or None."""
    if "x" not in archive.arrays:
        return None
    x = archive.numbers("x", 2)
    if len(x) != num_nodes:
        raise DataError(f"{archive.path}: x must have {num_nodes} rows, one per node, got {len(x)}")
    with np.errstate(over="ignore"):
        rounded = x.astype(np.float32)
    broken = np.argwhere(~np.isfinite(rounded))
    if broken.size:
        row, column = broken[0]
        rule = "must be a finite number in float32"
        raise DataError(f"{archive.path}: x[{row}, {column}] {rule}, got {x[row, column]}")
    return rounded


def _parts(archive: Archive, members: int) -> dict[str, Ints] | None:
    """The arrays `train`, `val` and `test`: all or none; ids of graphs, or of nodes for node tasks."""
    present = [name for name in PARTS if name in archive.arrays]
    if not present:
        return None
    owner: dict[int, str] = {}
    parts = {}
    for name in PARTS:
        ids = archive.integers(name, 1)
        if not ids.size:
            raise DataError(f"{archive.path}: {name} must hold at least one id")
        first_bad(ids >= members, archive.place(name), f"must be in 0..{members - 1}", ids)
        for row, member in enumerate(ids.tolist()):
            if member in owner:
                raise DataError(f"{archive.place(name)(row)}: splits overlap: {member} is in {owner[member]} already")
            owner[member] = name
        parts[name] = ids
    return parts
