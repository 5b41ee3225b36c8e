"""Graphs of a user without targets: PyG's tensors in a file, or an edge list with a table of features."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load
from torch import Tensor

from dqrun.data.dataset import GraphDataset
from dqrun.data.packed import PackedGraphs
from dqrun.errors import DataError

TENSORS, TABLES = (".safetensors", ".pt", ".pth"), (".csv", ".npy")


def is_graph_file(word: str) -> bool:
    """Whether a word of the command line names a file that `read_graph_files` may read, there or not."""
    return Path(word).suffix.lower() in TENSORS + TABLES


def read_graph_files(paths: list[Path], task: str) -> GraphDataset:
    """One file of tensors, or edges and features of one graph.

    Tensors: `x` (float [N, F], or integers [N] or [N, 1] for categories; may be missing), `edge_index` (integers
    [2, E]) and `batch` (integers [N], ascending; missing: one graph). Tables: edges as CSV with the columns
    source,target, and features as NPY or CSV with a header, a row per node. Raises DataError naming file and rule.
    """
    first = paths[0]
    if first.suffix.lower() in TENSORS:
        if len(paths) > 1:
            raise DataError(f"{first}: a file of tensors stands alone, got {paths[1]} as well")
        tensors = _read_tensors(first)
    else:
        if len(paths) != 2 or first.suffix.lower() != ".csv" or paths[1].suffix.lower() not in TABLES:
            names = " ".join(map(str, paths))
            raise DataError(f"one graph must be given as edges.csv and features.csv or features.npy, got {names}")
        tensors = {"edge_index": _read_edges(first), "x": _read_features(paths[1])}
    return _dataset(first, tensors, task)


def _dataset(path: Path, tensors: dict[str, Tensor], task: str) -> GraphDataset:
    edge_index = _integers(path, "edge_index", tensors)
    if edge_index.dim() != 2 or edge_index.size(0) != 2:
        raise DataError(f"{path}: edge_index must be [2, E], got {list(edge_index.shape)}")
    x, category, num_nodes = _nodes(path, tensors, edge_index)
    batch = _integers(path, "batch", tensors) if "batch" in tensors else torch.zeros(num_nodes, dtype=torch.int64)
    if batch.shape != (num_nodes,) or bool((batch.diff() < 0).any()) or (num_nodes and int(batch[0]) < 0):
        raise DataError(f"{path}: batch must be [{num_nodes}] and ascending from 0, got {list(batch.shape)}")
    if edge_index.numel() and not 0 <= int(edge_index.min()) <= int(edge_index.max()) < num_nodes:
        got = f"{int(edge_index.min())}..{int(edge_index.max())}"
        raise DataError(f"{path}: edge_index must name nodes in 0..{num_nodes - 1}, got {got}")
    source_graph, target_graph = batch[edge_index[0]], batch[edge_index[1]]
    if not torch.equal(source_graph, target_graph):
        raise DataError(f"{path}: an edge must join nodes of one graph of batch")
    node_counts = torch.bincount(batch, minlength=1)
    edge_index = edge_index[:, torch.sort(source_graph, stable=True).indices]
    first_node = (node_counts.cumsum(0) - node_counts)[batch[edge_index[0]]]
    edge_counts = torch.bincount(source_graph, minlength=node_counts.numel())
    packed = PackedGraphs.from_edges(edge_index - first_node, node_counts, edge_counts)
    return GraphDataset(path.name, task, packed, torch.empty(0), 0, x=x, category=category)


def _nodes(path: Path, tensors: dict[str, Tensor], edge_index: Tensor) -> tuple[Tensor | None, Tensor | None, int]:
    """Float features or categories, and the number of nodes."""
    x = tensors.get("x")
    if x is None:
        in_edges = int(edge_index.max()) + 1 if edge_index.numel() else 0
        return None, None, tensors["batch"].numel() if "batch" in tensors else in_edges
    if x.is_floating_point():
        if x.dim() != 2 or not bool(x.isfinite().all()):
            raise DataError(f"{path}: x must be [N, F] and finite, got {list(x.shape)}")
        return x.float(), None, x.size(0)
    if x.dim() not in (1, 2) or (x.dim() == 2 and x.size(1) != 1):
        raise DataError(f"{path}: integer x must be [N] or [N, 1], one category per node, got {list(x.shape)}")
    return None, x.flatten().long(), x.size(0)


def _integers(path: Path, name: str, tensors: dict[str, Tensor]) -> Tensor:
    tensor = tensors.get(name)
    if tensor is None:
        raise DataError(f"{path}: must hold a tensor {name!r}, got {', '.join(tensors) or 'none'}")
    if tensor.is_floating_point() or tensor.is_complex():
        raise DataError(f"{path}: {name} must be integers, got {tensor.dtype}")
    return tensor.long()


def _read_tensors(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix.lower() == ".safetensors":
            return load(path.read_bytes())
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises anything on a file that is not its own
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{path}: must be a readable file of plain tensors ({reason})") from None
    if not isinstance(content, dict):
        raise DataError(f"{path}: must hold a dictionary of tensors, got {type(content).__name__}")
    return {str(name): value for name, value in content.items() if isinstance(value, Tensor)}


def _read_edges(path: Path) -> Tensor:
    from dqrun.data.sources.folder_table import Table

    table = Table.read(path, ("source", "target"), None)
    return torch.from_numpy(np.stack([table.integers("source"), table.integers("target")]))


def _read_features(path: Path) -> Tensor:
    from dqrun.data.sources.folder_table import Table

    if path.suffix.lower() == ".csv":
        table = Table.read(path, (), None)
        features = table.features(list(table.frame.columns))
        if features is None:
            raise DataError(f"{path}: line 1: a header with one column per feature is missing")
        return torch.from_numpy(features)
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: must be a readable NPY file ({str(error).splitlines()[0]})") from None
    if array.dtype.kind not in "iuf":
        raise DataError(f"{path}: must hold numbers, got {array.dtype}")
    return torch.from_numpy(array.astype(np.float32 if array.dtype.kind == "f" else np.int64))
