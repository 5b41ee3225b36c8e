"""`TrialData`: the batches of one trial."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from dqrun.config import DatasetConfig, LoaderConfig
from dqrun.data.dataset import GraphDataset
from dqrun.data.features import FeatureRule, Features
from dqrun.data.packed import PackedGraphs
from dqrun.data.pieces import Pieces
from dqrun.data.splits import PARTS, Split
from dqrun.data.stored_rows import stored
from dqrun.errors import ConfigError
from dqrun.graphs import Batch, Graph, sparse_if_few
from dqrun.ranks.alone import WHOLE, Share


@dataclass(frozen=True)
class _Structure:
    """A batch without features; `node_index`: position of each of its nodes in the dataset, int64 [n]."""

    graph: Graph
    node_index: Tensor
    y: Tensor
    index: Tensor | None


@dataclass(frozen=True)
class TrialData:
    """The split and the features of a dataset; its methods make the batches.

    Graph tasks: a batch holds `batch_size` graphs, and all its rows are members of the part. Node tasks: `Batch.index`
    lists the nodes of the part. A single graph is the only batch. With several graphs, a batch holds `batch_size` of
    those in which the part has nodes; if parts are whole graphs, training never reads the others (inductive).
    `loader`: how a single graph is cut for training (`Pieces`) and evaluation.
    """

    rule: FeatureRule
    features: Features
    packed: PackedGraphs
    y: Tensor  # as `GraphDataset.y`
    split: Split
    batch_size: int
    num_classes: int
    is_node_task: bool
    loader: LoaderConfig = field(default_factory=LoaderConfig)
    self_loops: bool = False
    is_head: bool = False  # see `head`

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
        loader: LoaderConfig | None = None,
    ) -> TrialData:
        """Moves the dataset to `device` and resolves its features for this split.

        `self_loops`: whether layers need exactly one self-loop per node (GCN, GAT) or the raw edges (GIN).
        `edge_weights`, `edge_features`: whether layers read them. `loader`: how the single graph of a node task is
        cut; None: not at all. Raises ConfigError for features that the dataset does not have, and for several graphs
        with a loader that cuts a single graph.
        """
        loader = loader or LoaderConfig()
        if loader.division is not None and dataset.num_graphs > 1:
            name, value, otherwise = loader.division
            only = f"be {otherwise} for {dataset.name}, which has {dataset.num_graphs} graphs"
            raise ConfigError.rule(name, only, value)
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
        features = stored(rule.apply(moved), loader.feature_store)
        kind = dataset.num_classes, dataset.is_node_task
        return cls(rule, features, packed, moved.y, parts, batch_size, *kind, loader, self_loops)

    def require_shared_batches(self, processes: int) -> None:
        """Raises ConfigError if several processes have no batches to share: a single graph is the only batch."""
        if processes > 1 and self._is_one_graph and self.loader.name == "full":
            rule = "be 1 for one graph that is one batch (loader=neighbor or cluster shares it)"
            raise ConfigError.rule("processes", rule, processes)

    @property
    def in_channels(self) -> int:
        """Width of float features; 0 if features are categories."""
        return self.features.in_channels

    @property
    def num_categories(self) -> int:
        """Number of categories; 0 if features are floats."""
        return self.features.num_categories

    @property
    def shapes(self) -> dict[str, Any]:
        """Sizes of the data that determine a network, by the names of `build_model`'s arguments."""
        names = "in_channels", "num_categories", "out_channels", "edge_channels", "edge_categories", "num_nodes"
        return {name: getattr(self, name) for name in names}

    @property
    def num_nodes(self) -> int:
        """Number of nodes of a node task's single graph that is one batch; 0 for several graphs or a graph in parts."""
        at_once = self.loader.name == "full" and not self.loader.block
        return self.packed.num_nodes if self._is_one_graph and at_once else 0

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
        """Outputs of the network: one per class or label, or 1 for regression."""
        return self.num_classes or 1

    def targets(self, part: str) -> Tensor:
        """The targets of the part `train`, `val` or `test`, in the order of its ids."""
        return self.y[self.split.part(part)]

    def head(self) -> TrialData:
        """The same data with at most one batch in each part; a single graph is only shortened with loader=neighbor.

        With blocks and a loader that cuts the graph, `judged` then gives a training batch instead of each part.
        """
        if self._is_one_graph and self.loader.name == "neighbor":
            split = replace(self.split, train=self.split.train[: self.loader.batch_size])
            return replace(self, split=split, is_head=True)
        if self._is_one_graph:
            return replace(self, is_head=True)
        return replace(self, split=Split(*(self._first(part) for part in PARTS)))

    def _first(self, part: str) -> Tensor:
        """The ids of a part that are in its first batch."""
        ids = self.split.part(part)
        if not self.is_node_task:
            return ids[: self.batch_size]
        return ids[torch.isin(self._graph_of(ids), self._graphs(part)[: self.batch_size])]

    @property
    def steps_per_epoch(self) -> int:
        """Number of training batches of an epoch."""
        if self._is_one_graph:
            return 1 if self._pieces is None else self._pieces.steps_per_epoch
        return len(self._chunks(self._graphs("train")))

    @property
    def _is_one_graph(self) -> bool:
        return self.is_node_task and self.packed.num_graphs == 1

    def _graph_of(self, nodes: Tensor) -> Tensor:
        """The graph of each node, int64 [n]."""
        return torch.searchsorted(self.packed.node_ptr, nodes, right=True) - 1

    def _graphs(self, part: str) -> Tensor:
        """The graphs in which a part has members, int64 [g]."""
        ids = self.split.part(part)
        return torch.unique(self._graph_of(ids)) if self.is_node_task else ids

    def train_batches(self, generator: torch.Generator, share: Share = WHOLE) -> Iterator[Batch]:
        """Yields the training part once, in an order drawn from `generator` (a CPU generator). `share`: the process's
        part of the graphs of each batch; if a single graph is cut, of the nodes or clusters.

        If the last batch would have one graph, this graph is added to the batch before it: batch norm needs two rows.
        """
        if self._is_one_graph:
            yield from self.batches("train") if self._pieces is None else self._pieces.epoch(generator, share)
            return
        ids = self._graphs("train")
        order = torch.randperm(ids.numel(), generator=generator).to(ids.device)
        for chunk in self._chunks(ids[order]):
            yield self._batch(self._gather(share.of(chunk), "train"))

    def calibration_batches(self) -> Iterator[Batch]:
        """The training part once, in a fixed order; cut into pieces if training cuts the graph."""
        if not self._is_one_graph or self._pieces is None:
            return self.batches("train")
        return self._pieces.epoch(torch.Generator().manual_seed(0))

    def piece(self, i: int, count: int) -> Batch:
        """A sample around at most `count` training nodes, drawn with seed `i`; only with `loader=neighbor`."""
        assert self._pieces is not None
        return self._pieces.around(count, i)

    def sample(self, count: int, generator: torch.Generator) -> Batch:
        """One batch of at most `count` training graphs, drawn by a CPU generator.

        A single graph is returned whole, or, if it is cut and evaluated in blocks, as the first training batch.
        """
        if self._is_one_graph:
            if self.loader.block and self._pieces is not None:  # no batch may hold the whole graph
                return next(self._pieces.epoch(generator))
            (batch,) = self.batches("train")
            return batch
        ids = self._graphs("train")
        drawn = torch.randperm(ids.numel(), generator=generator)[:count]
        return self._batch(self._gather(ids[drawn.to(ids.device)], "train"))

    def judged(self, part: str) -> Iterator[Batch]:
        """The part for evaluation, as `batches`; with `loader.block` a single batch that is evaluated in blocks."""
        if not self.loader.block:
            return self.batches(part)
        if self.is_head and self._pieces is not None:
            return itertools.islice(self.calibration_batches(), 1)
        index, block = self.split.part(part), self.loader.block
        return iter([Batch(self.packed.in_parts, torch.empty(0), self.y, index, self.features.gather, block)])

    def batches(self, part: str) -> Iterator[Batch]:
        """The part `train`, `val` or `test` once, in a fixed order."""
        if self._is_one_graph:
            yield replace(self._whole, index=self.split.part(part))
            return
        for structure in self._val if part == "val" else self._structures(part):
            yield self._batch(structure)

    def _structures(self, part: str) -> Iterator[_Structure]:
        """The batches of a part, without features."""
        return (self._gather(ids, part) for ids in self._chunks(self._graphs(part)))

    def _batch(self, structure: _Structure) -> Batch:
        """Gathered graphs with their features."""
        return Batch(structure.graph, self.features.gather(structure.node_index), structure.y, structure.index)

    @cached_property
    def _whole(self) -> Batch:
        """The batch of a node task with one graph, without its index."""
        graph, node_index = self.packed.gather(self.packed.node_ptr.new_zeros(1))
        return Batch(graph, sparse_if_few(self.features.gather(node_index)), self.y)

    @cached_property
    def _pieces(self) -> Pieces | None:
        """The loader that cuts the one graph into batches; None: there is none."""
        if self.loader.name == "full":
            return None
        return Pieces(self.packed.in_parts, self.features, self.y, self.split.train, self.loader, self.self_loops)

    @cached_property
    def _val(self) -> list[_Structure]:
        """The validation batches, kept because every epoch needs them; without features, which may be wide."""
        return list(self._structures("val"))

    def _gather(self, graph_ids: Tensor, part: str) -> _Structure:
        """The graphs `graph_ids` of a part, as a batch without features."""
        graph, node_index = self.packed.gather(graph_ids)
        if not self.is_node_task:
            return _Structure(graph, node_index, self.y[graph_ids], None)
        index = self._members[part][node_index].nonzero().squeeze(1)
        return _Structure(graph, node_index, self.y[node_index], index)

    @cached_property
    def _members(self) -> dict[str, Tensor]:
        """Masks of the nodes of each part, bool [N]."""
        found = {}
        for part in PARTS:
            found[part] = torch.zeros(self.packed.num_nodes, dtype=torch.bool, device=self.y.device)
            found[part][self.split.part(part)] = True
        return found

    def _chunks(self, ids: Tensor) -> list[Tensor]:
        """Splits ids into chunks of `batch_size`; a last chunk of one id joins the chunk before, if batch_size > 1."""
        starts = list(range(0, ids.numel(), self.batch_size))
        if len(starts) > 1 and ids.numel() - starts[-1] == 1 < self.batch_size:
            starts.pop()
        return [ids[start:stop] for start, stop in zip(starts, [*starts[1:], ids.numel()], strict=True)]
