"""The content of a user's folder, independent of its format, and the rules that are common to both formats."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse

from dqrun.data.arrays import GraphArrays
from dqrun.errors import DataError

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]
_ALL = slice(None)
Place = Callable[[int], str]  # names the file and the line (or array element) of a row


class Targets(NamedTuple):
    """Targets of graphs or nodes: y as `GraphDataset.y`, the number of classes or labels, and their names."""

    y: NDArray[Any]
    num_classes: int
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class UserGraphs:
    """Checked content of a folder or file with G graphs, N nodes and E edges."""

    edge_index: NDArray[Any]  # int64 or int32 [2, E] positions of nodes: sources and targets
    node_graph: Ints  # [N] graph of each node, each of 0..G-1 at least once, in any order
    x: Floats | None  # [N, F]; may be mapped from a file
    node_ids: Ints  # [N] the user's ids of the nodes
    graph_ids: Ints  # [G] the user's ids of the graphs
    targets: Targets | None = None  # [G] or [N], in the order of the file; None: there are none
    parts: dict[str, Ints] | None = None  # ids of train, val and test: graphs, or nodes for node tasks
    category: Ints | None = None  # [N]
    edge_weight: Floats | None = None  # [E]
    edge_attr: Floats | Ints | None = None  # features [E, D] or categories [E]

    @property
    def num_edges(self) -> int:
        return int(self.edge_index.shape[1])

    def labelled(self, targets: Targets, parts: dict[str, Ints] | None) -> UserGraphs:
        """The same graphs with labels, and with the user's split."""
        return replace(self, targets=targets, parts=parts)

    @property
    def order(self) -> Ints:
        """Positions of the nodes, sorted by graph and by the order of the file within each graph, int64 [N]."""
        return np.argsort(self.node_graph, kind="stable")

    def arrays(self, is_node_task: bool, warnings: tuple[str, ...] = ()) -> GraphArrays:
        """The graphs one after the other; without labels, y is 0."""
        order, counts = self.order, np.bincount(self.node_graph)
        nodes: slice | Ints = _ALL
        edges: slice | Ints = _ALL
        if counts.size == 1:
            local_edges, edge_counts = self.edge_index, np.array([self.num_edges])
        else:
            local = np.empty_like(order)
            local[order] = np.arange(order.size) - np.repeat(np.cumsum(counts) - counts, counts)
            edge_graph = self.node_graph[self.edge_index[0]]
            nodes, edges = order, np.argsort(edge_graph, kind="stable")
            local_edges, edge_counts = local[self.edge_index[:, edges]], np.bincount(edge_graph, minlength=counts.size)
        members = order if is_node_task else np.arange(counts.size)
        place = np.empty_like(members)
        place[members] = np.arange(members.size)
        known = self.targets or Targets(np.zeros(members.size, np.float32), 0)
        parts = {name: torch.from_numpy(place[ids]) for name, ids in (self.parts or {}).items()}
        return GraphArrays(
            edge_index=torch.from_numpy(local_edges),
            node_counts=torch.from_numpy(counts),
            edge_counts=torch.from_numpy(edge_counts),
            y=torch.from_numpy(known.y[members]),
            num_classes=known.num_classes,
            class_names=known.names,
            x=None if self.x is None else torch.from_numpy(self.x[nodes]),
            category=None if self.category is None else torch.from_numpy(self.category[nodes]),
            warnings=warnings,
            edge_weight=None if self.edge_weight is None else torch.from_numpy(self.edge_weight[edges]),
            edge_attr=None if self.edge_attr is None else torch.from_numpy(self.edge_attr[edges]),
            **parts,
        )


def targets(values: NDArray[Any], regression: bool, place: Place) -> tuple[NDArray[Any], int]:
    """Labels (one number per row): float32 targets and 0 for `regression`, else int64 classes and their number.

    Raises DataError for an empty file, a target that is not finite in float32, a class that is no integer >= 0, and a
    gap: all of 0..C-1 must occur, C >= 2.
    """
    if values.size == 0:
        raise DataError(f"{place(0)}: no label is there")
    if regression:
        with np.errstate(over="ignore"):
            y = values.astype(np.float32)
        first_bad(~np.isfinite(y), place, "label must be a finite number in float32", values)
        return y, 0
    first_bad(~np.isfinite(values), place, "label must be a finite number", values)
    first_bad((values < 0) | (values != np.floor(values)), place, "label must be an integer >= 0", values)
    y = values.astype(np.int64)
    classes = np.unique(y)
    gap = np.flatnonzero(classes != np.arange(classes.size))
    if gap.size:
        row = int(np.flatnonzero(y == classes[gap[0]])[0])
        raise DataError(f"{place(row)}: labels must be 0..C-1 without a gap, got {y[row]} but no {gap[0]}")
    if classes.size < 2:
        raise DataError(f"{place(0)}: labels must have at least 2 classes, got only {y[0]}")
    return y, int(classes.size)


def edge_warnings(graphs: UserGraphs) -> tuple[str, ...]:
    """One line if edges are repeated in the file, and one if edges lack their reverse."""
    source, target, num_nodes = *graphs.edge_index, graphs.node_graph.size
    once = sparse.coo_array((np.ones(source.size, np.int8), (target, source)), (num_nodes, num_nodes)).tocsr()
    once.data[:] = 1  # `tocsr` summed repeated edges into one element
    both_ways = once.multiply(once.T.tocsr()).nnz  # with self-loops
    lines = []
    if repeated := source.size - once.nnz:
        lines.append(f"{repeated} of {source.size} edges repeat an earlier one, and each counts")
    if one_way := once.nnz - both_ways:
        lines.append(f"{one_way} of {once.nnz} edges go in one direction only: list both for an undirected edge")
    return tuple(lines)


def as_int64(values: NDArray[Any], place: Place, name: str) -> Ints:
    """Integers of any type as int64; raises DataError for one that int64 cannot hold."""
    if values.dtype.kind == "u" and values.dtype.itemsize == 8:
        first_bad(values > np.iinfo(np.int64).max, place, f"{name} must be below 2^63", values)
    return values.astype(np.int64, copy=False)


def first_bad(bad: NDArray[np.bool_], place: Place, rule: str, values: NDArray[Any] | None = None) -> None:
    """Raises DataError for the first row for which `bad` is true: the place, the rule, and the wrong value."""
    rows = np.flatnonzero(bad)
    if rows.size:
        row = int(rows[0])
        got = "" if values is None else f", got {values[row]}"
        raise DataError(f"{place(row)}: {rule}{got}")
