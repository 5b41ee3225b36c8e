"""A user's folder with tables: `edges`, `nodes` and, for graph tasks, `graphs`; see docs/reference/folder_format.md."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dqrun.config.tasks import kind_of
from dqrun.data.sources.folder_content import Floats, Ints, UserGraphs, first_bad
from dqrun.data.sources.folder_edges import WEIGHT, EdgeFile, Edges
from dqrun.data.sources.folder_features import read_features
from dqrun.data.sources.folder_labels import LABEL, PREFIX, label_kind, others_of, read_targets
from dqrun.data.sources.folder_parquet import ParquetFile
from dqrun.data.sources.folder_table import ID, NUMBER, WORD, Table
from dqrun.data.splits import PARTS
from dqrun.errors import DataError

NODE_FORMATS, EDGE_FORMATS = (".csv", ".parquet"), (".csv", ".parquet", ".npy")
"""Formats of the tables of a node task. Tables of graph tasks, and edges of several graphs, are CSV files."""


def read_graphs(folder: Path, task: str) -> UserGraphs:
    """Many graphs, each with targets; graphs and nodes keep the order of `graphs.csv` and `nodes.csv`.

    Raises DataError with file and line for content that breaks a rule.
    """
    graphs = graph_table(folder, task)
    targets = read_targets(graphs, task)
    return graph_structure(folder, graphs).labelled(targets, _parts(graphs))


def graph_table(folder: Path, task: str, labels: str | None = None) -> Table:
    """`graphs.csv`; `labels`: the kind of the column `label`, which may then be missing; None: `label_kind`."""
    path, kinds, optional = folder / "graphs.csv", {"graph": ID, "split": WORD}, ["split"]
    if kind_of(task) != "multilabel":
        kinds[LABEL] = labels or label_kind(path, task)
        optional += [LABEL] if labels else []
    return Table.read(path, kinds, optional, others=others_of(task, ""))


def graph_structure(folder: Path, graphs: Table | None, nodes: Table | None = None) -> UserGraphs:
    """The graphs of `nodes.csv` and `edges.csv`, without labels.

    `graphs`: the table of graphs; None: the graphs are those of the nodes, in the order of their first nodes. `nodes`:
    the table of nodes of a node task; None: a graph task, `nodes.csv` is read here.
    """
    of_nodes = nodes is not None
    if nodes is None:
        nodes = Table.read(folder / "nodes.csv", {"graph": ID, "node": ID}, others=NUMBER)
    edges = edge_table(folder / "edges.csv", {"graph": ID, "source": ID, "target": ID})
    for name in ("label", "split"):
        if name in nodes and not of_nodes:
            raise DataError(f"{nodes.path}: line 1: column {name} belongs in graphs.csv for graph tasks")
    if graphs is None:
        known, listed = pd.Index(pd.unique(nodes.ids("graph"))), nodes.path.name
    else:
        _no_repeats(graphs, "graph")
        known, listed = pd.Index(graphs.ids("graph")), graphs.path.name
    node_graph = _rows_of(nodes, known, listed)
    if graphs is not None:
        empty = np.bincount(node_graph, minlength=len(known)) == 0
        first_bad(empty, graphs.place, "graph must have a node in nodes.csv", known.to_numpy())
    keys = pd.MultiIndex.from_arrays([node_graph, nodes.ids("node")])
    first_bad(keys.duplicated(), nodes.place, "node must be listed once in its graph", nodes.values["node"])
    edge_graph = _rows_of(edges, known, listed)
    source, target = (
        _found(edges, keys, pd.MultiIndex.from_arrays([edge_graph, edges.ids(end)]), end)
        for end in ("source", "target")
    )
    return UserGraphs(
        edge_index=np.stack([source, target]),
        node_graph=node_graph,
        x=nodes.features("graph", "node", *((LABEL, "split", *_several_of(nodes)) if of_nodes else ())),
        node_ids=nodes.ids("node"),
        graph_ids=known.to_numpy(dtype=np.int64),
        **edge_data(edges),
    )


def edge_table(path: Path, ends: dict[str, str]) -> Table:
    """A table of edges; `ends`: kinds of the columns with graph and nodes. Other columns: the weight and features."""
    return Table.read(path, {**ends, WEIGHT: NUMBER}, optional=(WEIGHT,), others=NUMBER)


def edge_data(edges: Table) -> dict[str, Any]:
    """Weights and features of the edges, as fields of `UserGraphs`."""
    weight = edges.values[WEIGHT] if WEIGHT in edges else None
    if weight is not None:
        first_bad(weight < 0, edges.place, f"{WEIGHT} must be >= 0", weight)
    return {"edge_weight": weight, "edge_attr": edges.features("graph", "source", "target", WEIGHT)}


def read_nodes(folder: Path, task: str) -> UserGraphs:
    """One or several graphs whose nodes have targets; nodes keep the order of `nodes.csv`."""
    nodes = node_table(folder, task)
    targets = read_targets(nodes, task)
    return node_structure(folder, nodes).labelled(targets, _parts(nodes))


def node_table(folder: Path, task: str, labels: str | None = None) -> Table:
    """`nodes.csv` of a node task; `labels`: as in `graph_table`."""
    path = file_of(folder, "nodes", NODE_FORMATS)
    kinds, optional = {"graph": ID, "node": ID, "split": WORD}, ["graph", "split"]
    if kind_of(task) != "multilabel":
        kinds[LABEL] = labels or label_kind(path, task)
        optional += [LABEL] if labels else []
    if path.suffix == ".parquet":
        return ParquetFile.open(path, kinds, optional, others_of(task, NUMBER)).table()
    return Table.read(path, kinds, optional, others=others_of(task, NUMBER))


def file_of(folder: Path, name: str, formats: tuple[str, ...]) -> Path:
    """The file of a table; raises DataError unless there is one in one format."""
    there = [path for suffix in formats if (path := folder / f"{name}{suffix}").is_file()]
    if len(there) > 1:
        raise DataError(f"{folder}: must hold {there[0].name} or {there[1].name}, not both")
    if not there:
        raise DataError(f"{folder}: must hold {' or '.join(f'{name}{suffix}' for suffix in formats)}")
    return there[0]


def _several_of(table: Table) -> tuple[str, ...]:
    """The columns of several labels; a column `label_NAME` of numbers is a feature."""
    return tuple(name for name, values in table.values.items() if name.startswith(PREFIX) and values.dtype == object)


def node_structure(folder: Path, nodes: Table) -> UserGraphs:
    """The graph of a node task (the graphs, if nodes have a column `graph`), without labels."""
    if "graph" in nodes:
        if nodes.path.suffix != ".csv":
            raise DataError(f"{nodes.path}: a column graph needs nodes.csv: other formats hold one graph")
        return graph_structure(folder, None, nodes)
    _no_repeats(nodes, "node")
    if not len(nodes):
        raise DataError(f"{nodes.path}: must list a node")
    ids = nodes.ids("node")
    edges = Edges.read(EdgeFile.open(file_of(folder, "edges", EDGE_FORMATS)), ids, nodes.path.name)
    return UserGraphs(
        edge_index=edges.edge_index,
        node_graph=np.zeros(len(nodes), dtype=np.int64),
        x=_node_features(folder, nodes),
        node_ids=ids,
        graph_ids=np.zeros(1, dtype=np.int64),
        edge_weight=edges.edge_weight,
        edge_attr=edges.edge_attr,
    )


def _node_features(folder: Path, nodes: Table) -> Floats | None:
    """The columns of features, or `x.npy`, which is mapped from the file if it is float32."""
    columns = nodes.features("node", LABEL, "split", *_several_of(nodes))
    path = folder / "x.npy"
    if not path.is_file():
        return columns
    if columns is not None:
        raise DataError(f"{folder}: features must be in {nodes.path.name} or in x.npy, not in both")
    return read_features(path, len(nodes))


def _rows_of(table: Table, known: pd.Index, listed: str) -> Ints:
    """Position of each row's graph in `known`."""
    values = table.ids("graph")
    rows: Ints = known.get_indexer(pd.Index(values)).astype(np.int64)
    first_bad(rows < 0, table.place, f"graph must be listed in {listed}", values)
    return rows


def _found(edges: Table, keys: pd.Index, ends: pd.Index, column: str) -> Ints:
    """Row of one end of each edge in nodes.csv."""
    rows: Ints = keys.get_indexer(ends).astype(np.int64)
    missing = f"{column} must be a node of nodes.csv" + (", in the same graph" if keys.nlevels > 1 else "")
    first_bad(rows < 0, edges.place, missing, edges.values[column])
    return rows


def _no_repeats(table: Table, column: str) -> None:
    """Raises DataError if an id is repeated; the error says whether the two rows are in different parts."""
    ids = table.ids(column)
    repeated = np.flatnonzero(pd.Index(ids).duplicated())
    if not repeated.size:
        return
    row = int(repeated[0])
    if "split" in table:
        split = table.words("split", PARTS)
        first = split[int(np.flatnonzero(ids == ids[row])[0])]
        if first != split[row]:
            raise DataError(f"{table.place(row)}: splits overlap: {column} {ids[row]} is in {first} and {split[row]}")
    raise DataError(f"{table.place(row)}: {column} must be listed once, got {ids[row]} again")


def _parts(table: Table) -> dict[str, Ints] | None:
    """Rows of each part of the column `split`, or None without that column."""
    if "split" not in table:
        return None
    words = table.words("split", PARTS)
    parts = {name: np.flatnonzero(words == name) for name in PARTS}
    for name, rows in parts.items():
        if not rows.size:
            raise DataError(
                f"{table.path}: column split must name {', '.join(PARTS)} at least once each, got no {name}"
            )
    return parts
