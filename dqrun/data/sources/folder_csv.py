"""A user's folder with CSV files: `edges.csv`, `nodes.csv` and, for graph tasks, `graphs.csv`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from dqrun.data.sources.folder_content import Ints, UserGraphs, first_bad, targets
from dqrun.data.sources.folder_table import Table
from dqrun.data.splits import PARTS
from dqrun.errors import DataError


def read_graphs(folder: Path, regression: bool) -> UserGraphs:
    """Many graphs with a label each; graphs and nodes keep the order of `graphs.csv` and `nodes.csv`."""
    graphs = Table.read(folder / "graphs.csv", ("graph", "label"), ("split",))
    nodes = Table.read(folder / "nodes.csv", ("graph", "node"), None)
    edges = Table.read(folder / "edges.csv", ("graph", "source", "target"))
    for name in ("label", "split"):
        if name in nodes.frame.columns:
            raise DataError(f"{nodes.path}: line 1: column {name} belongs in graphs.csv for graph tasks")
    _no_repeats(graphs, "graph")
    known = pd.Index(graphs.integers("graph"))
    y, num_classes = targets(graphs.numbers("label"), regression, graphs.place)
    node_graph = _rows_of(nodes, known, "graph")
    sizes = np.bincount(node_graph, minlength=len(known))
    first_bad(sizes == 0, graphs.place, "graph must have a node in nodes.csv", known.to_numpy())
    keys = pd.MultiIndex.from_arrays([node_graph, nodes.integers("node")])
    first_bad(keys.duplicated(), nodes.place, "node must be listed once in its graph", nodes.frame["node"].to_numpy())
    edge_graph = _rows_of(edges, known, "graph")
    source, target = (
        _found(edges, keys, pd.MultiIndex.from_arrays([edge_graph, edges.integers(end)]), end)
        for end in ("source", "target")
    )
    x = nodes.features(nodes.columns_besides("graph", "node"))
    return UserGraphs(source, target, node_graph, x, y, num_classes, _parts(graphs))


def read_nodes(folder: Path) -> UserGraphs:
    """One graph whose nodes have labels; nodes keep the order of `nodes.csv`."""
    nodes = Table.read(folder / "nodes.csv", ("node", "label"), None)
    edges = Table.read(folder / "edges.csv", ("source", "target"))
    _no_repeats(nodes, "node")
    keys = pd.Index(nodes.integers("node"))
    y, num_classes = targets(nodes.numbers("label"), False, nodes.place)
    source, target = (_found(edges, keys, pd.Index(edges.integers(end)), end) for end in ("source", "target"))
    x = nodes.features(nodes.columns_besides("node", "label", "split"))
    return UserGraphs(source, target, np.zeros(y.size, dtype=np.int64), x, y, num_classes, _parts(nodes))


def _rows_of(table: Table, known: pd.Index, column: str) -> Ints:
    """Row in graphs.csv of the graph that each row names."""
    values = table.integers(column)
    rows: Ints = known.get_indexer(pd.Index(values)).astype(np.int64)
    first_bad(rows < 0, table.place, f"{column} must be listed in graphs.csv", values)
    return rows


def _found(edges: Table, keys: pd.Index, ends: pd.Index, column: str) -> Ints:
    """Row in nodes.csv of one end of each edge."""
    rows: Ints = keys.get_indexer(ends).astype(np.int64)
    missing = f"{column} must be a node of nodes.csv" + (", in the same graph" if keys.nlevels > 1 else "")
    first_bad(rows < 0, edges.place, missing, edges.frame[column].to_numpy())
    return rows


def _no_repeats(table: Table, column: str) -> None:
    """Raises DataError for the second row of one id; says so when the two rows put it into different parts."""
    ids = table.integers(column)
    repeated = np.flatnonzero(pd.Index(ids).duplicated())
    if not repeated.size:
        return
    row = int(repeated[0])
    if "split" in table.frame.columns:
        split = table.words("split", PARTS)
        first = split[int(np.flatnonzero(ids == ids[row])[0])]
        if first != split[row]:
            raise DataError(f"{table.place(row)}: splits overlap: {column} {ids[row]} is in {first} and {split[row]}")
    raise DataError(f"{table.place(row)}: {column} must be listed once, got {ids[row]} again")


def _parts(table: Table) -> dict[str, Ints] | None:
    """Rows of each part of the column `split`, or None without that column."""
    if "split" not in table.frame.columns:
        return None
    words = table.words("split", PARTS)
    parts = {name: np.flatnonzero(words == name) for name in PARTS}
    for name, rows in parts.items():
        if not rows.size:
            raise DataError(
                f"{table.path}: column split must name {', '.join(PARTS)} at least once each, got no {name}"
            )
    return parts
