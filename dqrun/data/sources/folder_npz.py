"""A user's folder with one NumPy archive, `data.npz`."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dqrun.data.sources.folder_content import Floats, Ints, Place, UserGraphs, first_bad, targets
from dqrun.data.splits import PARTS
from dqrun.errors import DataError

ARRAYS = ("edge_index", "y", "x", "batch", *PARTS)


def read_npz(path: Path, is_node_task: bool, regression: bool) -> UserGraphs:
    """The content of an archive; its arrays are those of docs/folder_format.md."""
    archive = _Archive.open(path)
    y, num_classes = targets(archive.numbers("y", 1), regression, archive.place("y"))
    if is_node_task and "batch" in archive.arrays:
        raise DataError(f"{path}: batch belongs to graph tasks; node classification has one graph")
    node_graph = np.zeros(y.size, dtype=np.int64) if is_node_task else _node_graph(archive, y.size)
    edges = archive.integers("edge_index", 2)
    if edges.shape[0] != 2:
        raise DataError(f"{path}: edge_index must have shape [2, E], got {list(edges.shape)}")
    outside = (edges[0] >= node_graph.size) | (edges[1] >= node_graph.size)
    place = archive.place("edge_index")
    first_bad(outside, place, f"an edge must join nodes 0..{node_graph.size - 1}", edges.T)
    first_bad(node_graph[edges[0]] != node_graph[edges[1]], place, "an edge must join nodes of one graph", edges.T)
    x = _features(archive, node_graph.size)
    return UserGraphs(edges[0], edges[1], node_graph, x, y, num_classes, _parts(archive, y.size))


@dataclass(frozen=True)
class _Archive:
    """Arrays of one file, with checks that name the array and the element."""

    path: Path
    arrays: dict[str, NDArray[Any]]

    @classmethod
    def open(cls, path: Path) -> _Archive:
        try:
            with path.open("rb") as file:
                archive = np.load(file, allow_pickle=False)
                if not isinstance(archive, np.lib.npyio.NpzFile):
                    raise ValueError("it holds a single array")
                arrays = {name: archive[name] for name in archive.files}
        except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise DataError(f"{path}: not a NumPy archive ({' '.join(str(error).split())})") from error
        for name in arrays:
            if name not in ARRAYS:
                raise DataError(f"{path}: arrays must be among {', '.join(ARRAYS)}, got {name}")
        return cls(path, arrays)

    def place(self, name: str) -> Place:
        return lambda row: f"{self.path}: {name}[{row}]"

    def numbers(self, name: str, dimensions: int) -> NDArray[Any]:
        """An array of numbers with so many dimensions."""
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
        lowest = values if dimensions == 1 else values.min(axis=0)
        first_bad(lowest < 0, self.place(name), "must be >= 0", lowest)
        return values.astype(np.int64)


def _node_graph(archive: _Archive, num_graphs: int) -> Ints:
    """The array `batch`: the graph of each node."""
    batch = archive.integers("batch", 1)
    first_bad(batch >= num_graphs, archive.place("batch"), f"must name one of the {num_graphs} graphs of y", batch)
    empty = np.bincount(batch, minlength=num_graphs) == 0
    first_bad(empty, archive.place("y"), "the graph must have a node in batch")
    return batch


def _features(archive: _Archive, num_nodes: int) -> Floats | None:
    """The array `x`, float32 [N, F], or None."""
    if "x" not in archive.arrays:
        return None
    x = archive.numbers("x", 2)
    if len(x) != num_nodes:
        raise DataError(f"{archive.path}: x must have {num_nodes} rows, one per node, got {len(x)}")
    broken = np.argwhere(~np.isfinite(x))
    if broken.size:
        row, column = broken[0]
        raise DataError(f"{archive.path}: x[{row}, {column}]: features must be finite numbers, got {x[row, column]}")
    return x.astype(np.float32)


def _parts(archive: _Archive, members: int) -> dict[str, Ints] | None:
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
