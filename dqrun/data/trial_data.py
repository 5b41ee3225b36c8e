"""`TrialData`: the batches of one trial."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from dqrun.config import DatasetConfig
from dqrun.data.dataset import GraphDataset
from dqrun.data.features import FeatureRule, Features
from dqrun.data.packed import PackedGraphs
from dqrun.data.splits import Split
from dqrun.graphs import Batch, Graph, sparse_if_few


@dataclass(frozen=True)
class TrialData:
    """A dataset, split and turned into features, that serves batches.

    Graph tasks: a batch holds `batch_size` graphs and all its rows count. Node tasks: the one batch is the whole
    graph and `Batch.index` names the nodes of the part.
    """

    rule: FeatureRule
    features: Features
    packed: PackedGraphs
    y: Tensor  # int64 or float32, [G] or [N]
    split: Split
    batch_size: int
    num_classes: int
    is_node_task: bool

    @classmethod
    def build(
        cls,
        dataset: GraphDataset,
        split: Split,
        config: DatasetConfig,
        batch_size: int,
        self_loops: bool,
        device: torch.device | str = "cpu",
        edge_weights: bool = False,
        edge_features: bool = False,
    ) -> TrialData:
        """Moves the dataset to `device` and resolves its features for this split.

        `self_loops`: whether layers want exactly one self-loop per node (GCN, GAT) or the raw edges (GIN).
        `edge_weights`, `edge_features`: whether layers read them. Raises ConfigError for features that the dataset
        does not have.
        """
        rule = FeatureRule.fit(dataset, split, config).reading(edge_weights, edge_features)
        packed = rule.structure(dataset, self_loops).to(device)
        moved = replace(
            dataset,
            packed=packed,
            y=dataset.y.to(device),
            x=None if dataset.x is None else dataset.x.to(device),
            category=None if dataset.category is None else dataset.category.to(device),
        )
        parts = Split(*(part.to(device) for part in (split.train, split.val, split.test)))
        return cls(
            rule, rule.apply(moved), packed, moved.y, parts, batch_size, dataset.num_classes, dataset.is_node_task
        )

    @property
    def in_channels(self) -> int:
        """Width of float features; 0 when features are categories."""
        return self.features.in_channels

    @property
    def num_categories(self) -> int:
        """Number of categories; 0 when features are floats."""
        return self.features.num_categories

    @property
    def edge_channels(self) -> int:
        """Width of the edge features that layers read; 0 for none, and for categories."""
        return self.rule.edge_channels

    @property
    def edge_categories(self) -> int:
        """Number of the edge categories that layers read; 0 for none, and for float features."""
        return self.rule.edge_categories

    @property
    def out_channels(self) -> int:
        """Outputs of the network: one per class, or 1 for regression."""
        return self.num_classes or 1

    def targets(self, part: str) -> Tensor:
        """The targets of the part `train`, `val` or `test`, in the order of its ids."""
        return self.y[self.split.part(part)]

    def head(self) -> TrialData:
        """The same data with at most one batch in each part; a node task has no more anyway."""
        if self.is_node_task:
            return self
        parts = (self.split.train, self.split.val, self.split.test)
        return replace(self, split=Split(*(part[: self.batch_size] for part in parts)))

    @property
    def steps_per_epoch(self) -> int:
        """Number of training batches of an epoch."""
        return 1 if self.is_node_task else len(self._chunks(self.split.train))

    def train_batches(self, generator: torch.Generator) -> Iterator[Batch]:
        """The training part once, in an order drawn from `generator` (a CPU generator).

        A last batch of a single graph joins the batch before it: batch norm needs two rows.
        """
        if self.is_node_task:
            yield from self.batches("train")
            return
        ids = self.split.train
        order = torch.randperm(ids.numel(), generator=generator).to(ids.device)
        for chunk in self._chunks(ids[order]):
            yield self._batch(*self._gather(chunk))

    def sample(self, count: int, generator: torch.Generator) -> Batch:
        """One batch of `count` training graphs (all, where there are no more), drawn by a CPU generator."""
        if self.is_node_task:
            (batch,) = self.batches("train")
            return batch
        ids = self.split.train
        drawn = torch.randperm(ids.numel(), generator=generator)[:count]
        return self._batch(*self._gather(ids[drawn.to(ids.device)]))

    def batches(self, part: str) -> Iterator[Batch]:
        """The part `train`, `val` or `test` once, in a fixed order."""
        if self.is_node_task:
            yield replace(self._whole, index=self.split.part(part))
            return
        gathered = self._val if part == "val" else map(self._gather, self._chunks(self.split.part(part)))
        for structure in gathered:
            yield self._batch(*structure)

    def _batch(self, graph: Graph, node_index: Tensor, y: Tensor) -> Batch:
        """Gathered graphs with their features."""
        return Batch(graph, self.features.gather(node_index), y)

    @cached_property
    def _whole(self) -> Batch:
        """The batch of a node task, without its index."""
        graph, node_index = self.packed.gather(self.packed.node_ptr.new_zeros(1))
        return Batch(graph, sparse_if_few(self.features.gather(node_index)), self.y)

    @cached_property
    def _val(self) -> list[tuple[Graph, Tensor, Tensor]]:
        """The validation batches, kept because every epoch asks for them; without features, which may be wide."""
        return [self._gather(ids) for ids in self._chunks(self.split.val)]

    def _gather(self, graph_ids: Tensor) -> tuple[Graph, Tensor, Tensor]:
        """Structure, node rows and targets of some graphs."""
        graph, node_index = self.packed.gather(graph_ids)
        return graph, node_index, self.y[graph_ids]

    def _chunks(self, ids: Tensor) -> list[Tensor]:
        """Runs of `batch_size` ids; a single leftover joins the run before it, unless runs are single anyway."""
        starts = list(range(0, ids.numel(), self.batch_size))
        if len(starts) > 1 and ids.numel() - starts[-1] == 1 < self.batch_size:
            starts.pop()
        return [ids[start:stop] for start, stop in zip(starts, [*starts[1:], ids.numel()], strict=True)]
