"""The edges of one large graph of a user's folder, read in chunks: from CSV, Parquet or NPY."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dqrun.data.mapped import map_npy
from dqrun.data.sources.folder_content import Floats, Ints, Place, as_int64, first_bad
from dqrun.data.sources.folder_parquet import ParquetFile
from dqrun.data.sources.folder_table import ID, NUMBER, Table
from dqrun.errors import DataError

WEIGHT = "weight"
"""The column of edge weights; the other columns of numbers are features."""
ENDS = ("source", "target")
ROWS_AT_ONCE = 1 << 20

Chunk = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class EdgeFile:
    """E edges. `chunks` yields some at a time, by column: `source` and `target` (integers, the user's ids of nodes) and
    the columns of `numbers` (float32).
    """

    num_edges: int
    numbers: tuple[str, ...]
    chunks: Callable[[], Iterator[Chunk]]
    place: Place

    @classmethod
    def open(cls, path: Path) -> EdgeFile:
        """Opens `.csv`, `.parquet` or `.npy`. Raises DataError if the file is missing or has wrong columns."""
        return {".csv": _table, ".parquet": _parquet, ".npy": _array}[path.suffix](path)


@dataclass(frozen=True)
class Edges:
    """Edges between rows of the table of nodes."""

    edge_index: NDArray[Any]  # int32, or int64 for 2^31 nodes and more, [2, E]
    edge_weight: Floats | None  # [E]
    edge_attr: Floats | None  # [E, D]

    @classmethod
    def read(cls, file: EdgeFile, node_ids: Ints, nodes: str) -> Edges:
        """Reads all chunks once. `node_ids`: int64 [N], all different; `nodes`: name of the nodes' table, for errors.

        Memory: 8 bytes for each edge, 4 for each of its numbers, and one chunk. Raises DataError for an end that is no
        node and for a negative weight.
        """
        from tqdm import tqdm

        rows_of = row_lookup(node_ids)
        index = np.empty((2, file.num_edges), np.int32 if node_ids.size < 2**31 else np.int64)
        numbers = {name: np.empty(file.num_edges, np.float32) for name in file.numbers}
        first = 0
        with tqdm(
            total=file.num_edges, desc="edges", unit="", unit_scale=True, delay=1, leave=False, disable=None
        ) as bar:
            for chunk in file.chunks():
                count = len(chunk[ENDS[0]])
                part, place = slice(first, first + count), _from(file.place, first)
                for end, line in zip(ENDS, index, strict=True):
                    line[part] = _rows(chunk[end], rows_of, place, f"{end} must be a node of {nodes}", end)
                for name, values in numbers.items():
                    values[part] = chunk[name]
                if WEIGHT in numbers:
                    first_bad(chunk[WEIGHT] < 0, place, f"{WEIGHT} must be >= 0", chunk[WEIGHT])
                first += count
                bar.update(count)
        weight = numbers.pop(WEIGHT, None)
        return cls(index, weight, np.stack(list(numbers.values()), axis=1) if numbers else None)


def row_lookup(ids: Ints) -> Callable[[NDArray[Any]], NDArray[Any]]:
    """A function from ids (>= 0) to their rows; an unknown id gives -1."""
    if np.array_equal(ids, np.arange(ids.size)):
        return lambda values: np.where(values < ids.size, values, -1)
    index = pd.Index(ids)
    return lambda values: index.get_indexer(pd.Index(values))


def _rows(
    values: NDArray[Any], rows_of: Callable[[NDArray[Any]], NDArray[Any]], place: Place, rule: str, end: str
) -> NDArray[Any]:
    values = as_int64(values, place, end)  # `row_lookup` compares with -1
    first_bad(values < 0, place, f"{end} must be >= 0", values)
    rows = rows_of(values)
    first_bad(rows < 0, place, rule, values)
    return rows


def _from(place: Place, first: int) -> Place:
    return lambda row: place(first + row)


def _table(path: Path) -> EdgeFile:
    table = Table.read(path, {**dict.fromkeys(ENDS, ID), WEIGHT: NUMBER}, optional=(WEIGHT,), others=NUMBER)
    numbers = tuple(name for name in table.values if name not in ENDS)
    return EdgeFile(len(table), numbers, lambda: iter([table.values]), table.place)


def _parquet(path: Path) -> EdgeFile:
    file = ParquetFile.open(path, {**dict.fromkeys(ENDS, ID), WEIGHT: NUMBER}, optional=(WEIGHT,), others=NUMBER)
    numbers = tuple(name for name in file.kinds if name not in ENDS)
    return EdgeFile(file.num_rows, numbers, lambda: file.chunks(ROWS_AT_ONCE), file.place)


def _array(path: Path) -> EdgeFile:
    edges = map_npy(path)
    if edges.ndim != 2 or edges.shape[0] != 2 or edges.dtype.kind not in "iu":
        raise DataError(
            f"{path}: must hold integers [2, E], sources and targets, got {edges.dtype} {list(edges.shape)}"
        )

    def chunks() -> Iterator[Chunk]:
        for first in range(0, edges.shape[1], ROWS_AT_ONCE):
            yield dict(zip(ENDS, edges[:, first : first + ROWS_AT_ONCE], strict=True))

    return EdgeFile(edges.shape[1], (), chunks, lambda row: f"{path}: column {row}")
