"""Node features of one trial, the content of `Batch.x`; computed for one batch at a time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from dqrun.config import DatasetConfig
from dqrun.data.columns import CategoryColumns, checked_columns, column_sizes, multi_hot
from dqrun.data.dataset import GraphDataset
from dqrun.data.packed import PackedGraphs
from dqrun.data.splits import Split
from dqrun.errors import ConfigError, DataError


class Features(Protocol):
    """Features of all N nodes of a dataset."""

    @property
    def in_channels(self) -> int:
        """Width F of float features; 0 for categories."""

    @property
    def num_categories(self) -> int:
        """Number of categories; 0 for float features."""

    def gather(self, node_index: Tensor) -> Tensor:
        """Features of the nodes `node_index` (int64 [n]): float32 [n, F], or int64 [n] for categories."""


@dataclass(frozen=True)
class GivenFeatures:
    """Float features as stored, float32 [N, F]."""

    x: Tensor
    num_categories: int = 0

    @property
    def in_channels(self) -> int:
        return self.x.size(1)

    def gather(self, node_index: Tensor) -> Tensor:
        return self.x[node_index]


@dataclass(frozen=True)
class OneHotDegree:
    """The in-degree (int64 [N]) one-hot in `in_channels` columns; only the rows of one batch are made dense."""

    in_degree: Tensor
    in_channels: int
    num_categories: int = 0

    def gather(self, node_index: Tensor) -> Tensor:
        return one_hot(self.in_degree[node_index], self.in_channels).float()


@dataclass(frozen=True)
class Categories:
    """One integer per node (int64 [N], below `num_categories`), for an embedding."""

    category: Tensor
    num_categories: int
    in_channels: int = 0

    def gather(self, node_index: Tensor) -> Tensor:
        return self.category[node_index]


KINDS = ("given", "one_hot_degree", "scaled_degree", "category", "columns")


@dataclass(frozen=True)
class FeatureRule:
    """The rule by which a network's inputs are computed from a dataset: plain numbers, saved in the network's file.

    `kind`: one of KINDS. `width`: columns of float features, or number of categories. `normalize_rows`: of given
    features. `mean`, `divisor`: of scaled degrees. `edge_weights`: whether the network reads them. `edge_channels`,
    `edge_categories`: columns of the edge features, or number of edge categories, that it reads; 0 for none.
    `columns`, `edge_columns`: number of categories in each column, where nodes or edges have columns of categories;
    `width` and `edge_channels` are then their sums.
    `class_names`: names of its outputs; empty: numbers are their names.
    """

    kind: str
    width: int
    normalize_rows: bool = False
    mean: float = 0.0
    divisor: float = 1.0
    edge_weights: bool = False
    edge_channels: int = 0
    edge_categories: int = 0
    class_names: tuple[str, ...] = ()
    columns: tuple[int, ...] = ()
    edge_columns: tuple[int, ...] = ()

    @property
    def from_degrees(self) -> bool:
        """Whether features are computed from edges alone."""
        return self.kind in ("one_hot_degree", "scaled_degree")

    @classmethod
    def fit(cls, dataset: GraphDataset, split: Split, config: DatasetConfig) -> FeatureRule:
        """The rule for `dataset.features`; statistics are those of the nodes that `dataset.degree_statistics` names.

        Raises ConfigError for features that the dataset does not have.
        """
        weight, attr = dataset.packed.edge_weight, dataset.packed.edge_attr
        channels, categories = 0, 0
        columns: tuple[int, ...] = ()
        if attr is not None and config.edge_features:
            columns = column_sizes(attr) if attr.dim() == 2 and not attr.is_floating_point() else ()
            channels = attr.size(1) if attr.is_floating_point() else sum(columns)
            categories = 0 if channels or not attr.numel() else int(attr.max()) + 1
        return replace(
            cls._fit_nodes(dataset, split, config),
            edge_weights=weight is not None and config.edge_weights,
            edge_channels=channels,
            edge_categories=categories,
            edge_columns=columns,
            class_names=dataset.class_names,
        )

    @classmethod
    def _fit_nodes(cls, dataset: GraphDataset, split: Split, config: DatasetConfig) -> FeatureRule:
        kind = config.features
        if kind == "auto":
            kind = "given" if dataset.x is not None else "category" if dataset.category is not None else "degree"
        if kind == "degree":
            part = _training_nodes(dataset, split) if config.degree_statistics == "training" else slice(None)
            return cls._fit_degree(dataset.packed.in_degree, part, config.max_one_hot_degree)
        if kind == "category":
            if dataset.category is None:
                raise ConfigError.rule(
                    "dataset.features", f"be given or degree: {dataset.name} has no categories", kind
                )
            if dataset.category.dim() == 2:
                sizes = column_sizes(dataset.category)
                return cls("columns", sum(sizes), columns=sizes)
            return cls("category", int(dataset.category.max()) + 1)
        if dataset.x is None:
            raise ConfigError.rule("dataset.features", f"be degree: {dataset.name} has no float node features", kind)
        return cls("given", dataset.x.size(1), normalize_rows=config.normalize_rows)

    @classmethod
    def _fit_degree(cls, degree: Tensor, part: Tensor | slice, max_one_hot: int) -> FeatureRule:
        """One-hot while the largest in-degree of the whole dataset is at most `max_one_hot`, else standardised.

        The standard deviation is the unbiased one, as in the Degree-Quant reference; where it is 0 only the mean is
        subtracted. `part`: the nodes whose degrees (int64 [N]) give both.
        """
        largest = int(degree.max())
        if largest <= max_one_hot:
            return cls("one_hot_degree", largest + 1)
        seen = degree[part].double()
        std, mean = torch.std_mean(seen) if seen.numel() > 1 else (seen.new_zeros(()), seen.mean())
        return cls("scaled_degree", 1, mean=mean.item(), divisor=std.item() if std > 0 else 1.0)

    def reading(self, weights: bool, features: bool) -> FeatureRule:
        """The same rule for a network whose layers read edge weights (`weights`) and edge features (`features`)."""
        return replace(
            self,
            edge_weights=self.edge_weights and weights,
            edge_channels=self.edge_channels if features else 0,
            edge_categories=self.edge_categories if features else 0,
            edge_columns=self.edge_columns if features else (),
        )

    def structure(self, dataset: GraphDataset, self_loops: bool) -> PackedGraphs:
        """The graphs of a dataset with the edge data that the network reads, and no other.

        `self_loops`: whether layers need exactly one self-loop per node. Raises DataError if the dataset lacks such
        weights or features.
        """
        packed, name = dataset.packed, dataset.name
        if self.edge_columns:
            packed = replace(packed, edge_attr=self.edge_inputs(packed.edge_attr, f"edge features of {name}"))
        attr = packed.edge_attr
        if self.edge_weights and packed.edge_weight is None:
            raise DataError(f"{name} must have edge weights, as the training data had")
        if self.edge_channels and (attr is None or attr.dim() != 2 or attr.size(1) != self.edge_channels):
            got = "none" if attr is None else "categories" if attr.dim() == 1 else str(attr.size(1))
            raise DataError(f"{name} must have {self.edge_channels} float features per edge, got {got}")
        if self.edge_categories:
            if attr is None or attr.dim() != 1:
                raise DataError(f"{name} has no edge categories, one integer per edge")
            if attr.numel() and int(attr.max()) >= self.edge_categories:
                got = f"got {int(attr.max())}"
                raise DataError(f"edge categories of {name} must be in 0..{self.edge_categories - 1}, {got}")
        packed = packed.with_self_loops() if self_loops else packed
        return packed.with_edge_data(self.edge_weights, self.edge_channels + self.edge_categories > 0)

    def edge_inputs(self, attr: Tensor | None, what: str) -> Tensor | None:
        """The tensor for `Graph.edge_attr` from the dataset's edge features.

        Raises DataError for categories beyond the column sizes of training. `what`: name of the features in errors.
        """
        if not self.edge_columns:
            return attr
        return multi_hot(checked_columns(attr, self.edge_columns, what), self.edge_columns)

    def apply(self, dataset: GraphDataset) -> Features:
        """The features of all nodes of a dataset, which may differ from that of `fit`.

        Raises DataError if the dataset has no features of this kind and width.
        """
        return self.of(dataset.packed.in_degree, dataset.x, dataset.category, dataset.name)

    def of(self, degree: Tensor, given: Tensor | None, category: Tensor | None, name: str) -> Features:
        """The features of N nodes, from their degrees, float features or categories.

        `degree`: int64 [N], edges that enter each node, self-loops not counted. `given`: float32 [N, F] or None.
        `category`: int64 [N] or [N, K], or None. `name`: of the data, for errors. Raises DataError as `apply` does.
        """
        if self.kind == "scaled_degree":
            return GivenFeatures(((degree.double() - self.mean) / self.divisor).float().unsqueeze(1))
        if self.kind == "one_hot_degree":
            if degree.numel() and int(degree.max()) >= self.width:
                got = f"got {int(degree.max())} in {name}"
                raise DataError(f"in-degrees must be at most {self.width - 1}, the largest of training, {got}")
            return OneHotDegree(degree, self.width)
        if self.kind == "columns":
            columns = checked_columns(given if category is None else category, self.columns, f"features of {name}")
            return CategoryColumns(columns, self.columns)
        if self.kind == "category":
            if category is None or category.dim() != 1:
                raise DataError(f"{name} has no categories, one integer per node")
            if category.numel() and not 0 <= int(category.min()) <= int(category.max()) < self.width:
                got = f"got {int(category.min())}..{int(category.max())}"
                raise DataError(f"categories of {name} must be in 0..{self.width - 1}, {got}")
            return Categories(category, self.width)
        if given is None or given.size(1) != self.width:
            got = "none" if given is None else str(given.size(1))
            raise DataError(f"{name} must have {self.width} float features per node, got {got}")
        return GivenFeatures(_normalize_rows(given) if self.normalize_rows else given)


def _training_nodes(dataset: GraphDataset, split: Split) -> Tensor:
    """The nodes whose features training may use, int64 ids or bool [N]."""
    if dataset.is_node_task:
        return split.train
    training = torch.zeros(dataset.num_graphs, dtype=torch.bool, device=dataset.y.device)
    training[split.train] = True
    return training.repeat_interleave(dataset.packed.node_ptr.diff())


def _normalize_rows(x: Tensor) -> Tensor:
    """Rows divided by their sum; rows whose sum is 0 stay as they are. float32 [N, F]."""
    total = x.sum(dim=1, keepdim=True)
    return x / total.masked_fill(total == 0, 1.0)
