"""Converts PyG's `Data` objects, from a dataset class or a plug-in, to `GraphArrays`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dqrun.config.tasks import is_node_task
from dqrun.data.arrays import GraphArrays
from dqrun.data.splits import PARTS
from dqrun.errors import DataError

MASKS = {"train": "train_mask", "val": "val_mask", "test": "test_mask"}


def arrays_of(graphs: Sequence[Any], task: str, name: str, sizes: Sequence[int] = (), column: int = 0) -> GraphArrays:
    """The graphs, one after the other, with their split.

    `sizes`: number of graphs of the parts train, val and test, if the graphs are in that order; empty: masks of nodes
    give the split, or there is none. `column`: the column of the target, if targets have several. Raises DataError for
    graphs with different fields or widths, for targets of another task, and for arrays that `GraphArrays` refuses.
    """
    require(bool(graphs), name, "holds no graphs")
    for graph in graphs:
        _require_edges(graph, name)
    nodes = [int(graph.num_nodes) for graph in graphs]
    of_nodes = is_node_task(task)
    members = sum(nodes) if of_nodes else len(graphs)
    words = _words(graphs, name)
    class_names: tuple[str, ...] = ()
    if words is None:
        y, num_classes = _targets(_stacked(graphs, "y", name), members, task, name, column)
    else:
        y, num_classes, class_names = _classes_of_words(words, members, task, name)
    x = _stacked(graphs, "x", name) if getattr(graphs[0], "x", None) is not None else None
    features, category = _features(x, name)
    weight = _stacked(graphs, "edge_weight", name) if getattr(graphs[0], "edge_weight", None) is not None else None
    attr = _stacked(graphs, "edge_attr", name) if getattr(graphs[0], "edge_attr", None) is not None else None
    return GraphArrays(
        edge_index=torch.cat([graph.edge_index for graph in graphs], dim=1).long(),
        node_counts=torch.tensor(nodes),
        edge_counts=torch.tensor([graph.edge_index.size(1) for graph in graphs]),
        y=y,
        num_classes=num_classes,
        class_names=class_names,
        x=features,
        category=category,
        edge_weight=None if weight is None else weight.float().reshape(-1),
        edge_attr=_edge_features(attr),
        **_parts(graphs, nodes, of_nodes, sizes, name),
    )


def require(holds: bool, name: str, what: str) -> None:
    if not holds:
        raise DataError(f"{name}: {what}")


def _stacked(graphs: Sequence[Any], field: str, name: str) -> Tensor:
    """A field of all graphs, one after the other; a number counts as one row."""
    values = [getattr(graph, field, None) for graph in graphs]
    require(all(value is not None for value in values), name, f"must give {field} in every graph")
    tensors = [_tensor(value, field, name) for value in values]
    require(len({each.shape[1:] for each in tensors}) == 1, name, f"must give {field} of one width in every graph")
    return torch.cat([each.reshape(1) if each.dim() == 0 else each for each in tensors])


def _require_edges(graph: Any, name: str) -> None:
    edges = getattr(graph, "edge_index", None)
    require(isinstance(edges, Tensor), name, "must give graphs with an edge_index, homogeneous ones")
    assert isinstance(edges, Tensor)
    fits = edges.dim() == 2 and edges.size(0) == 2 and not edges.is_floating_point() and edges.dtype != torch.bool
    got = f"{str(edges.dtype).removeprefix('torch.')} {list(edges.shape)}"
    require(fits, name, f"must give edge_index as integers [2, E], got {got}")
    require(graph.num_nodes is not None, name, "must give graphs that say their num_nodes, as features or as a number")


def _tensor(value: Any, field: str, name: str) -> Tensor:
    """Numbers as a tensor; raises DataError for anything else."""
    try:
        return value if isinstance(value, Tensor) else torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError):
        raise DataError(f"{name}: {field} must be numbers, got {type(value).__name__}") from None


def _words(graphs: Sequence[Any], name: str) -> list[str] | None:
    """Targets that are text, one after the other; None if they are numbers."""
    given: list[Any] = []
    for graph in graphs:
        y = getattr(graph, "y", None)
        if isinstance(y, Tensor):
            return None
        given += y if isinstance(y, list | tuple) else y.tolist() if isinstance(y, np.ndarray) else [y]
    if not any(isinstance(value, str) for value in given):
        return None
    other = next((value for value in given if not isinstance(value, str)), None)
    require(other is None, name, f"must give y as numbers or as text, not both, got {other!r}")
    return given


def _classes_of_words(words: list[str], members: int, task: str, name: str) -> tuple[Tensor, int, tuple[str, ...]]:
    """Classes in alphabetical order, as in folders: targets int64 [members], number of classes, names of classes."""
    rule = f"dataset.task={task} wants numbers, labels that are text are those of a classification"
    require(task.endswith("classification"), name, f"{rule}, got {words[0]!r}")
    require(len(words) == members, name, _count_hint(task, members, [len(words)]))
    names = sorted(set(words))
    require(len(names) > 1, name, f"labels must have at least 2 classes, got only {names[0]!r}")
    place = {word: i for i, word in enumerate(names)}
    return torch.tensor([place[word] for word in words]), len(names), tuple(names)


def _count_hint(task: str, members: int, shape: list[int]) -> str:
    other = "graph" if is_node_task(task) else "node"
    return f"dataset.task={task} wants {members} targets, got {shape}; is it a task of {other}s?"


def _targets(y: Tensor, members: int, task: str, name: str, column: int) -> tuple[Tensor, int]:
    """Targets and number of classes as in `GraphArrays`; unlabelled members (target < 0) get class 0."""
    require(y.size(0) == members, name, _count_hint(task, members, list(y.shape)))
    if task.endswith("multilabel"):
        return y.reshape(members, -1).float(), y.reshape(members, -1).size(1)
    if y.dim() > 1:
        flat = y.reshape(members, -1)
        require(column < flat.size(1), name, f"has targets in {flat.size(1)} columns, got dataset.column={column}")
        y = flat[:, column]
    if task.endswith("regression"):
        return y.float(), 0
    require(bool((y == y.long()).all()), name, "targets of a classification must be whole numbers")
    classes = y.long().clamp(min=0)
    return classes, int(classes.max()) + 1


def _features(x: Tensor | None, name: str) -> tuple[Tensor | None, Tensor | None]:
    """Features float32 [N, F] and None, or None and categories int64 [N] if the data has one integer per node."""
    if x is None:
        return None, None
    x = x.to_dense() if x.layout != torch.strided else x
    if not x.is_floating_point() and x.numel() == x.size(0):
        return None, x.reshape(-1).long()
    require(x.dim() <= 2, name, f"must give features [N, F], got {list(x.shape)}")
    return x.float().reshape(x.size(0), -1), None


def _edge_features(attr: Tensor | None) -> Tensor | None:
    if attr is None:
        return None
    if not attr.is_floating_point() and attr.numel() == attr.size(0):
        return attr.reshape(-1).long()
    return attr.float().reshape(attr.size(0), -1)


def _parts(
    graphs: Sequence[Any], nodes: Sequence[int], of_nodes: bool, sizes: Sequence[int], name: str
) -> dict[str, Any]:
    """The split as arguments of `GraphArrays`: of whole graphs, or from masks of nodes; {} if there is none."""
    if sizes:
        counts = torch.tensor(nodes) if of_nodes else torch.ones(len(graphs), dtype=torch.int64)
        part_of = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes)).repeat_interleave(counts)
        return {part: (part_of == i).nonzero().squeeze(1) for i, part in enumerate(PARTS)}
    if not of_nodes or any(getattr(graphs[0], mask, None) is None for mask in MASKS.values()):
        return {}
    masks = {part: _stacked(graphs, mask, name).bool() for part, mask in MASKS.items()}
    known = torch.ones(len(masks["train"]), dtype=torch.bool)
    if _words(graphs, name) is None:
        labelled = _stacked(graphs, "y", name)
        known = labelled.reshape(len(labelled), -1)[:, 0] >= 0
    columns = {part: mask.reshape(len(mask), -1) & known.unsqueeze(1) for part, mask in masks.items()}
    most = max(mask.size(1) for mask in columns.values())  # a part may be the same for all columns
    require(all(mask.size(1) in (1, most) for mask in columns.values()), name, "must have as many masks in each part")
    first = {part: mask[:, 0].nonzero().squeeze(1) for part, mask in columns.items()}
    if most == 1:
        return first
    codes = sum((i + 1) * columns[part].expand(-1, most).to(torch.int8) for i, part in enumerate(PARTS))
    assert isinstance(codes, Tensor)
    return {**first, "folds": codes.T.contiguous()}
