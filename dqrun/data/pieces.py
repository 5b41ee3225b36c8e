"""`Pieces`: training batches that are parts of one large graph."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from dqrun import extras
from dqrun.config import LoaderConfig
from dqrun.data.features import Features
from dqrun.graphs import Batch, Graph
from dqrun.kernels.sampling import Parts
from dqrun.ranks.alone import WHOLE, Share

T = TypeVar("T")
READY = 2
"""Batches that wait while a step runs."""


class Pieces:
    """Extracts training batches from one graph, as `loader` demands, in a separate thread during training steps.

    In-degree ranks, on which Degree-Quant's protection depends, and GCN's normalisation are those of the whole graph.
    """

    def __init__(
        self, graph: Graph, features: Features, y: Tensor, train: Tensor, loader: LoaderConfig, loops: bool
    ) -> None:
        """`y`: targets of all nodes, `train`: int64 ids of the training nodes, `loops`: as for `Parts`."""
        self.parts = Parts(graph, loops)
        self.features, self.y, self.train, self.loader = features, y, train, loader

    @property
    def steps_per_epoch(self) -> int:
        """Number of batches of an epoch."""
        if self.loader.name == "cluster":
            return len(self._clusters)
        return len(self._chunks(self.train))

    def epoch(self, generator: torch.Generator, share: Share = WHOLE) -> Iterator[Batch]:
        """One epoch: each training node once, in an order drawn from `generator` (on the CPU), which seeds samples too.

        Yields the part `share` of each batch: some of its nodes, with samples of their own, or some of its clusters.
        """
        if self.loader.name == "cluster":
            drawn = torch.randperm(len(self._groups), generator=generator)
            order = torch.split(drawn, self.loader.parts_per_batch)
            return prefetched(self._cluster(share.of(ids)) for ids in order if self._has_training_nodes(ids))
        order_of_nodes = self.train[torch.randperm(len(self.train), generator=generator)]
        seeds = torch.randint(2**62, (len(self._chunks(self.train)),), generator=generator).tolist()
        batches = zip(self._chunks(order_of_nodes), seeds, strict=True)
        return prefetched(self._neighbourhood(share.of(nodes), seed + share.index) for nodes, seed in batches)

    def _chunks(self, nodes: Tensor) -> tuple[Tensor, ...]:
        """Chunks of `batch_size` nodes; a last single node joins the chunk before it, because batch norm needs two."""
        size, count = self.loader.batch_size, len(nodes)
        if count > size and count % size == 1:
            return (*torch.split(nodes[: count - size - 1], size), nodes[count - size - 1 :])
        return torch.split(nodes, size)

    def around(self, count: int, seed: int) -> Batch:
        """The sample around training nodes, at most `count`, all drawn by a generator that begins at `seed`."""
        draw = torch.Generator().manual_seed(seed)
        places = torch.unique(torch.randint(len(self.train), (count,), generator=draw))
        return self._neighbourhood(self.train[places], seed)

    def _neighbourhood(self, nodes: Tensor, seed: int) -> Batch:
        graph, found = self.parts.sample(nodes, self.loader.fanouts, seed)
        return Batch(graph, self.features.gather(found), self.y[found], torch.arange(len(nodes)))

    def _cluster(self, ids: Tensor) -> Batch:
        graph, nodes = self.parts.induced(torch.cat([self._groups[i] for i in ids.tolist()]))
        index = self._is_training[nodes].nonzero().squeeze(1)
        return Batch(graph, self.features.gather(nodes), self.y[nodes], index)

    def _has_training_nodes(self, ids: Tensor) -> bool:
        return any(bool(self._is_training[self._groups[i]].any()) for i in ids.tolist())

    @cached_property
    def _is_training(self) -> Tensor:
        mask = torch.zeros(len(self.y), dtype=torch.bool)
        mask[self.train] = True
        return mask

    @property
    def _clusters(self) -> range:
        return range(-(-len(self._groups) // self.loader.parts_per_batch))

    @cached_property
    def _groups(self) -> list[Tensor]:
        """The nodes of each group that has some, ascending."""
        group = torch.from_numpy(groups_of(self.parts.graph, self.loader.parts))
        order = torch.sort(group, stable=True).indices
        sizes = torch.bincount(group, minlength=self.loader.parts)
        return [nodes for nodes in torch.split(order, sizes.tolist()) if len(nodes)]


def groups_of(graph: Graph, count: int) -> np.ndarray:
    """The group of each node, int64 [N]: groups of about equal size with few edges between them, by METIS (Karypis and
    Kumar, 1998) on undirected edges without loops. Raises ConfigError without pymetis.
    """
    pymetis = extras.require("pymetis", "large", "loader=cluster")
    row, col = graph.csr.row, graph.csr.col
    both = torch.cat([row * graph.num_nodes + col, col * graph.num_nodes + row])[torch.cat([row != col] * 2)]
    key = torch.unique(both)
    pointer = torch.searchsorted(key, torch.arange(graph.num_nodes + 1) * graph.num_nodes)
    neighbours = pymetis.CSRAdjacency(pointer.numpy(), (key % graph.num_nodes).numpy())
    _, group = pymetis.part_graph(min(count, graph.num_nodes), adjacency=neighbours)
    return np.asarray(group, np.int64)


def prefetched(items: Iterable[T]) -> Iterator[T]:
    """The same items; a thread makes the next ones while the caller works. An error of the thread is raised here."""
    ready: queue.Queue[tuple[T | None, BaseException | None]] = queue.Queue(READY)
    stopped = threading.Event()

    def put(item: T | None, error: BaseException | None = None) -> None:
        while not stopped.is_set():
            try:
                return ready.put((item, error), timeout=0.1)
            except queue.Full:
                continue

    def work() -> None:
        try:
            for item in items:
                put(item)
                if stopped.is_set():
                    return
            put(None)
        except BaseException as error:  # any error is raised again in the caller
            put(None, error)

    thread = threading.Thread(target=work, daemon=True, name="batches")
    thread.start()
    try:
        while True:
            item, error = ready.get()
            if error is not None:
                raise error
            if item is None:
                return
            yield item
    finally:
        stopped.set()
        thread.join()
