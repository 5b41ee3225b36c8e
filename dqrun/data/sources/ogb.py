"""Sets of the Open Graph Benchmark (Hu et al., NeurIPS 2020), from its own raw files; its package is not needed.

`<root>/ogb/ogbg_molhiv` is laid out as OGB's archive: `raw/` has the graphs, one after the other (text in gzip, or
NPZ), `split/NAME/` the official split. The kinds of columns are declared in `config.ogb`, not guessed from values.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dqrun.config import DataConfig, DatasetConfig
from dqrun.config.ogb import OGB_SETS, OgbSet, validate_ogb
from dqrun.config.tasks import is_node_task, kind_of
from dqrun.data.archives import gunzip, member_bytes, open_archive, read_npy
from dqrun.data.arrays import GraphArrays
from dqrun.data.dataset import GraphDataset
from dqrun.data.downloads import of_archive
from dqrun.data.number_text import canonical_text, float32, read_numbers
from dqrun.data.raw_files import RawContent, RawFiles, load_raw, unreadable
from dqrun.errors import DataError

SPLIT_FILES = ("train", "valid", "test")
EDGES, BINARY = "raw/edge.csv.gz", "raw/data.npz"
MOST_CATEGORIES = 10_000  # per column


def load(dataset: DatasetConfig, data: DataConfig) -> GraphDataset:
    """All graphs of one set, with its official split.

    Molecules have columns of categories for atoms [N, 9] and bonds [E, 3]; other sets have float features or none. y:
    classes int64, numbers float32, or labels float32 [., L] with nan for unknown ones. Raises ConfigError for a name
    or task that does not fit, DataError for files that are missing or broken.
    """
    validate_ogb(dataset.name, dataset.task)
    known, folder = OGB_SETS[dataset.name], f"ogb/{dataset.name.replace('-', '_')}"
    files = RawFiles(folder=folder, required=file_names(known), fetch=of_archive(known.url, known.top, folder), base="")
    return load_raw(files, data, lambda raw: parse(raw, known)).dataset(dataset.name, dataset.task)


def file_names(known: OgbSet) -> tuple[str, ...]:
    """The files of a set that dqrun reads, relative to its folder."""
    level = known.task.partition("_")[0]
    if known.binary:
        names = ["data.npz", f"{level}-label.npz"]
    else:
        names = ["edge.csv.gz", "num-node-list.csv.gz", "num-edge-list.csv.gz", f"{level}-label.csv.gz"]
        names += [f"{what}-feat.csv.gz" for what in ("node", "edge") if getattr(known, f"{what}s")]
    parts = [f"split/{known.split}/{file}.csv.gz" for file in SPLIT_FILES]
    return (*(f"raw/{name}" for name in names), *parts)


def parse(raw: RawContent, known: OgbSet) -> GraphArrays:
    """The graphs of one set. Raises DataError that names the file and the line."""
    read = (_read_binary if known.binary else _read_text)(raw, known)
    _check_sizes(raw, read, known)
    edge, edge_feat, repeats = read.edge, read.edge_feat, 2 if known.both_ways else 1
    if known.both_ways:
        edge = np.stack([edge, edge[:, ::-1]], axis=1).reshape(-1, 2)
        edge_feat = None if edge_feat is None else np.repeat(edge_feat, 2, axis=0)
    train, val, test = _parts(raw, known, len(read.label))
    y, num_classes = _targets(raw, read.label, known, torch.cat([train, val, test]))
    nodes = None if read.node_feat is None else torch.from_numpy(read.node_feat)
    categories = nodes is not None and not nodes.is_floating_point()
    return GraphArrays(
        edge_index=torch.from_numpy(np.ascontiguousarray(edge.T)),
        node_counts=torch.from_numpy(read.node_counts),
        edge_counts=torch.from_numpy(read.edge_counts * repeats),
        y=y,
        num_classes=num_classes,
        x=None if categories else nodes,
        category=nodes if categories else None,
        edge_attr=None if edge_feat is None else torch.from_numpy(edge_feat),
        train=train,
        val=val,
        test=test,
    )


@dataclass(frozen=True)
class _Arrays:
    """The content of the files, unchanged."""

    edge: NDArray[np.int64]  # [E, 2]
    node_counts: NDArray[np.int64]  # [G]
    edge_counts: NDArray[np.int64]  # [G]
    label: NDArray[Any]  # [G, L] or [N, L]
    node_feat: NDArray[Any] | None = None  # int64 or float32 [N, F]
    edge_feat: NDArray[Any] | None = None  # the same [E, D]


def _check_sizes(raw: RawContent, read: _Arrays, known: OgbSet) -> None:
    """Raises DataError for arrays whose lengths do not match the counts, and for edges to nodes that do not exist."""
    nodes, edges = read.node_counts, read.edge_counts
    if len(nodes) != len(edges) or not len(nodes) or min(int(nodes.min()), int(edges.min())) < 0:
        raise DataError(f"{raw.folder}: numbers of nodes and of edges must be >= 0, one of each for every graph")
    if is_node_task(known.task) and len(nodes) != 1:
        raise DataError(f"{raw.folder}: must hold one graph, got {len(nodes)}")
    num_nodes, num_edges = sum(nodes.tolist()), sum(edges.tolist())  # Python's integers can't overflow
    sizes = (
        ("labels", read.label, num_nodes if is_node_task(known.task) else len(nodes)),
        ("node features", read.node_feat, num_nodes),
        ("edges", read.edge, num_edges),
        ("edge features", read.edge_feat, len(read.edge)),
    )
    for name, values, count in sizes:
        if values is not None and len(values) != count:
            raise DataError(f"{raw.folder}: must have {count} rows of {name}, got {len(values)}")
    limit = nodes if len(nodes) == 1 else np.repeat(nodes, edges)[:, None]  # papers100M has 1.6 billion edges
    if read.edge.size and (int(read.edge.min()) < 0 or bool((read.edge >= limit).any())):
        row = int(np.flatnonzero(((read.edge < 0) | (read.edge >= limit)).any(axis=1))[0])
        where = f"{raw.path(BINARY)}: edge_index[:, {row}]" if known.binary else f"{raw.path(EDGES)}: line {row + 1}"
        raise DataError(f"{where}: must join nodes of its graph, got {read.edge[row].tolist()}")


def _read_text(raw: RawContent, known: OgbSet) -> _Arrays:
    level = known.task.partition("_")[0]
    kinds = {"classification": "i", "regression": "f", "multilabel": "l"}
    return _Arrays(
        edge=_table(raw, EDGES, "i", 2),
        node_counts=_table(raw, "raw/num-node-list.csv.gz", "i", 1)[:, 0],
        edge_counts=_table(raw, "raw/num-edge-list.csv.gz", "i", 1)[:, 0],
        label=_table(raw, f"raw/{level}-label.csv.gz", kinds[kind_of(known.task)], known.targets),
        node_feat=_features(raw, "node", known.nodes),
        edge_feat=_features(raw, "edge", known.edges),
    )


def _features(raw: RawContent, what: str, holds: str) -> NDArray[Any] | None:
    if not holds:
        return None
    name = f"raw/{what}-feat.csv.gz"
    values = _table(raw, name, "i" if holds == "categories" else "f")
    if holds == "categories" and not 0 <= int(values.min()) <= int(values.max()) < MOST_CATEGORIES:
        row = int(np.flatnonzero(((values < 0) | (values >= MOST_CATEGORIES)).any(axis=1))[0])
        rule = f"must hold categories in 0..{MOST_CATEGORIES - 1}"
        raise DataError(f"{raw.path(name)}: line {row + 1}: {rule}, got {values[row].tolist()}")
    return values


def _table(raw: RawContent, name: str, kind: str, columns: int | None = None) -> NDArray[Any]:
    """The numbers of a gzipped text; `kind` as in `read_numbers`. Raises DataError."""
    try:
        text = canonical_text(gunzip(raw.content[name])) if kind != "l" else gunzip(raw.content[name])
    except ValueError as error:
        raise unreadable(raw.path(name), error) from None
    return read_numbers(raw.path(name), text, kind, columns)


def _read_binary(raw: RawContent, known: OgbSet) -> _Arrays:
    level = known.task.partition("_")[0]
    labels = f"raw/{level}-label.npz"
    arrays = _archive(raw, BINARY, ("edge_index", "num_nodes_list", "num_edges_list", "node_feat"))
    label = _archive(raw, labels, (f"{level}_label",))[f"{level}_label"]
    edge = arrays["edge_index"]
    _require(edge, "iu", edge.ndim == 2 and len(edge) == 2, f"{raw.path(BINARY)}: edge_index must hold integers [2, E]")
    for name in ("num_nodes_list", "num_edges_list"):
        _require(arrays[name], "iu", arrays[name].ndim > 0, f"{raw.path(BINARY)}: {name} must hold integers [G]")
    x, rule = arrays["node_feat"], "must hold finite numbers of float32 [N, F]"
    rounded = float32(x) if x.dtype.kind == "f" else None
    shaped = x.ndim == 2 and x.shape[1] > 0 and rounded is not None
    _require(x, "f", shaped, f"{raw.path(BINARY)}: node_feat {rule}")
    shaped = label.ndim > 0 and label.size == len(label) * known.targets
    _require(label, "iuf", shaped, f"{raw.path(labels)}: {level}_label must hold numbers [N, {known.targets}]")
    return _Arrays(
        edge=edge.T.astype(np.int64),
        node_counts=arrays["num_nodes_list"].reshape(-1).astype(np.int64),
        edge_counts=arrays["num_edges_list"].reshape(-1).astype(np.int64),
        label=label.reshape(-1, known.targets),
        node_feat=rounded,
    )


def _require(array: NDArray[Any], kinds: str, shaped: bool, rule: str) -> None:
    if array.dtype.kind not in kinds or not shaped:
        raise DataError(f"{rule}, got {array.dtype} {list(array.shape)}")


def _archive(raw: RawContent, name: str, wanted: tuple[str, ...]) -> dict[str, NDArray[Any]]:
    """The arrays `wanted` of an NPZ file; raises DataError if one is missing or unreadable."""
    try:
        archive = open_archive(raw.content[name])
        return {array: read_npy(member_bytes(archive, f"{array}.npy")) for array in wanted}
    except ValueError as error:
        raise unreadable(raw.path(name), error) from None


def _targets(raw: RawContent, label: NDArray[Any], known: OgbSet, used: Tensor) -> tuple[Tensor, int]:
    """Targets as `GraphArrays.y`, and the number of classes or labels. `used`: ids of all parts of the split.

    An unknown class (nan) becomes 0; raises DataError if a node of a part has an unknown class.
    """
    kind = kind_of(known.task)
    if kind == "multilabel":
        return torch.from_numpy(label), known.targets
    if kind == "regression":
        return torch.from_numpy(label[:, 0].copy()), 0
    given, missing = label[:, 0], np.isnan(label[:, 0])
    known_ones = np.where(missing, 0, given)
    rule = f"{raw.folder}: labels must be classes in 0..{MOST_CATEGORIES - 1}"
    if not given.size or not ((known_ones >= 0) & (known_ones < MOST_CATEGORIES)).all() or (known_ones % 1).any():
        raise DataError(rule)
    ids = used.numpy()
    if missing[ids].any():
        raise DataError(f"{rule}, and known for the split's nodes: node {ids[missing[ids]][0]} has none")
    y = known_ones.astype(np.int64)
    return torch.from_numpy(y), int(y.max()) + 1


def _parts(raw: RawContent, known: OgbSet, count: int) -> list[Tensor]:
    """The ids of each part of the split; raises DataError for an id that is not in 0..count - 1 or that is repeated."""
    seen, parts = np.zeros(count, bool), []
    for file in SPLIT_FILES:
        name = f"split/{known.split}/{file}.csv.gz"
        ids = _table(raw, name, "i", 1)[:, 0]

        def refuse(wrong: NDArray[np.bool_], rule: str, ids: NDArray[Any] = ids, name: str = name) -> None:
            if wrong.any():
                row = int(np.flatnonzero(wrong)[0])
                raise DataError(f"{raw.path(name)}: line {row + 1}: {rule}, got {ids[row]}")

        refuse((ids < 0) | (ids >= count), f"must be in 0..{count - 1}")
        repeated = np.ones(ids.size, bool)
        repeated[np.unique(ids, return_index=True)[1]] = False
        refuse(repeated | seen[ids], "must be in one part, once")
        seen[ids] = True
        parts.append(torch.from_numpy(ids))
    return parts
