"""`GraphArrays`: the checked arrays of a source, from which a `GraphDataset` is packed; the cache stores them."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from dqrun.data.dataset import GraphDataset
from dqrun.data.packed import PackedGraphs
from dqrun.data.splits import PARTS, Split
from dqrun.errors import DataError

ROWS_AT_ONCE = 1 << 18  # rows of features checked at once, because features may be mapped from a file


@dataclass(frozen=True)
class GraphArrays:
    """G graphs with N nodes and E edges, one graph after the other.

    Construction raises DataError for tensors that do not fit together: wrong sizes or types, ids out of range,
    overlapping parts, numbers that are not finite.
    """

    edge_index: Tensor  # int64 (of one graph also int32) [2, E] source and target, from the first node of their graph
    node_counts: Tensor  # int64 [G]
    edge_counts: Tensor  # int64 [G]
    y: Tensor  # int64 classes or float32 targets, [G] or [N]; float32 labels [G, L] or [N, L], nan where unknown
    num_classes: int  # 0 for regression, L for labels
    x: Tensor | None = None  # float32 [N, F]
    category: Tensor | None = None  # int64 [N], or [N, K] columns of categories
    train: Tensor | None = None  # int64 ids of graphs, or of nodes; the three parts or none
    val: Tensor | None = None
    test: Tensor | None = None
    edge_weight: Tensor | None = None  # float32 [E], >= 0
    edge_attr: Tensor | None = None  # float32 [E, D] features, or int64 categories [E] or [E, K]
    folds: Tensor | None = None  # int8 [K, N] part of each node in K splits: 1 train, 2 val, 3 test, 0 none
    class_names: tuple[str, ...] = ()  # name of each class or label; empty: numbers are their names
    warnings: tuple[str, ...] = ()  # lines to print whenever the data is loaded

    def __post_init__(self) -> None:
        num_graphs, num_nodes = self.node_counts.numel(), int(self.node_counts.sum())
        _require(all(t.dtype == torch.int64 for t in (self.node_counts, self.edge_counts)), "types of sizes")
        _require(self.edge_index.dtype in (torch.int64, torch.int32)[: 1 + (num_graphs == 1)], "types of edges")
        _require(self.edge_index.dim() == 2 and self.edge_index.size(0) == 2, "the shape of edges")
        _require(self.edge_counts.shape == self.node_counts.shape == (num_graphs,), "the number of graphs")
        _require(num_graphs > 0 and int(self.node_counts.min()) >= 0 <= int(self.edge_counts.min()), "sizes of graphs")
        _require(self.y.dim() in (1, 2) and len(self.y) in (num_graphs, num_nodes), "the number of targets")
        if self.y.dim() == 2:
            _require(self.y.dtype == torch.float32 and self.y.size(1) == self.num_classes > 0, "the number of labels")
            _require(bool(((self.y == 0) | (self.y == 1) | self.y.isnan()).all()), "labels")
        elif self.num_classes:
            _require(self.y.dtype == torch.int64, "the type of classes")
            _require(int(self.y.min()) >= 0 and int(self.y.max()) < self.num_classes, "classes")
        else:
            _require(self.y.dtype == torch.float32 and bool(self.y.isfinite().all()), "targets")
        if self.x is not None:
            _require(self.x.dtype == torch.float32 and self.x.dim() == 2 and len(self.x) == num_nodes, "features")
            finite = all(bool(rows.isfinite().all()) for rows in torch.split(self.x, ROWS_AT_ONCE))
            _require(finite, "features that are not finite")
        if self.category is not None:
            _require(self.category.dtype == torch.int64 and self.category.dim() in (1, 2), "categories")
            _require(len(self.category) == num_nodes, "categories")
            _require(self.category.numel() == 0 or int(self.category.min()) >= 0, "categories")
        _require(len(self.class_names) in (0, self.num_classes), "names of classes")
        self._check_edge_data()
        self._check_parts()

    def _check_edge_data(self) -> None:
        weight, attr, num_edges = self.edge_weight, self.edge_attr, self.edge_index.size(1)
        if weight is not None:
            _require(weight.dtype == torch.float32 and weight.shape == (num_edges,), "edge weights")
            _require(bool((weight.isfinite() & (weight >= 0)).all()), "edge weights that are negative or not finite")
        if attr is not None and attr.is_floating_point():
            _require(attr.dtype == torch.float32 and attr.dim() == 2 and len(attr) == num_edges, "edge features")
            _require(attr.size(1) > 0 and bool(attr.isfinite().all()), "edge features that are not finite")
        elif attr is not None:
            _require(attr.dtype == torch.int64 and attr.dim() in (1, 2) and len(attr) == num_edges, "edge categories")
            _require(attr.numel() == 0 or int(attr.min()) >= 0, "edge categories")

    def _check_parts(self) -> None:
        parts = [getattr(self, name) for name in PARTS]
        given = [part for part in parts if part is not None]
        _require(len(given) in (0, 3), "parts")
        if given:
            ids = torch.cat(given)
            _require(ids.dtype == torch.int64 and bool((ids.sort().values.diff() > 0).all()), "parts that overlap")
            _require(ids.numel() == 0 or 0 <= int(ids.min()) <= int(ids.max()) < len(self.y), "ids of parts")

        if self.folds is not None:
            _require(self.folds.dtype == torch.int8 and self.folds.dim() == 2, "folds")
            _require(self.folds.size(1) == self.y.size(0), "the number of members of folds")

    def same_as(self, other: GraphArrays) -> bool:
        """Whether both hold the same data, bit for bit."""

        def same(one: object, another: object) -> bool:
            if isinstance(one, Tensor) and isinstance(another, Tensor):
                alike = one.dtype == another.dtype and one.shape == another.shape
                return alike and bool(((one == another) | ((one != one) & (another != another))).all())
            return type(one) is type(another) and one == another

        return all(same(getattr(self, field.name), getattr(other, field.name)) for field in fields(self))

    def dataset(self, name: str, task: str, note: str = "") -> GraphDataset:
        """The packed dataset. Raises DataError for an edge to a node that does not exist in its graph."""
        official = None
        if self.train is not None and self.val is not None and self.test is not None:
            official = Split(self.train, self.val, self.test)
        return GraphDataset(
            name=name,
            task=task,
            packed=PackedGraphs.from_edges(
                self.edge_index, self.node_counts, self.edge_counts, self.edge_weight, self.edge_attr
            ),
            y=self.y,
            num_classes=self.num_classes,
            x=self.x,
            category=self.category,
            official=official,
            folds=() if self.folds is None else tuple(map(_split_of, self.folds)),
            class_names=self.class_names,
            note="; ".join([note, *self.warnings] if note else self.warnings),
        )


def _split_of(codes: Tensor) -> Split:
    """The split for the part codes of all members, coded as in `GraphArrays.folds`."""
    return Split(*((codes == i + 1).nonzero().squeeze(1) for i in range(len(PARTS))))


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise DataError(f"arrays of graphs do not fit together: {what}")
