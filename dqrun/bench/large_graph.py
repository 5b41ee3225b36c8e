"""Generates node-classification datasets of the sizes of ogbn-arxiv and ogbn-products, as `GraphDataset`s."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from dqrun.bench.power_law import EXPONENT, power_law_edges
from dqrun.data.dataset import GraphDataset
from dqrun.data.packed import PackedGraphs
from dqrun.data.splits import Split

AT_ONCE = 1 << 22  # edges that are drawn at once


@dataclass(frozen=True)
class Size:
    """The size of a generated dataset; `train`: number of training nodes, as in the original dataset."""

    nodes: int
    edges: int
    channels: int
    classes: int
    train: int

    def divided(self, by: int) -> Size:
        """`nodes // by` nodes, with the same ratios of edges and training nodes to nodes."""
        return self.with_nodes(self.nodes // by)

    def with_nodes(self, nodes: int) -> Size:
        """Another number of nodes, with the same ratios; at least two training nodes."""
        part = nodes / self.nodes
        return Size(nodes, int(self.edges * part), self.channels, self.classes, max(2, int(self.train * part)))


ARXIV = Size(169_343, 2_315_598, 128, 40, 90_941)
PRODUCTS = Size(2_449_029, 123_718_280, 100, 47, 196_615)


def small_graph(size: Size) -> GraphDataset:
    """A graph by `power_law_edges`: without repeated edges, so that all of PyG's forms of edges can represent it."""
    edges = power_law_edges(size.nodes, size.edges)
    packed = PackedGraphs.from_edges(edges, torch.tensor([size.nodes]), torch.tensor([size.edges]))
    return _dataset(packed, size)


def large_graph(size: Size, seed: int = 0) -> GraphDataset:
    """A graph with in-degrees by a power law and uniform sources; edges may repeat.

    Edges are drawn in parts and stored as int32, so that few bytes beside them are allocated.
    """
    draw = np.random.default_rng(seed)
    weight = np.arange(1, size.nodes + 1) ** (-1 / (EXPONENT - 1))
    upto, name = np.cumsum(weight) / weight.sum(), draw.permutation(size.nodes).astype(np.int32)
    edges = np.empty((2, size.edges), np.int32)
    for first in range(0, size.edges, AT_ONCE):
        part = slice(first, min(first + AT_ONCE, size.edges))
        count = part.stop - part.start
        edges[0, part] = draw.integers(0, size.nodes, count, np.int32)
        edges[1, part] = name[np.searchsorted(upto, draw.random(count)).clip(max=size.nodes - 1)]
    counts = torch.tensor([size.nodes]), torch.tensor([size.edges])
    return _dataset(PackedGraphs.from_edges(torch.from_numpy(edges), *counts), size)


def _dataset(packed: PackedGraphs, size: Size) -> GraphDataset:
    """The dataset with random features and classes, because times do not depend on them."""
    draw = torch.Generator().manual_seed(0)
    order = torch.randperm(size.nodes, generator=draw)
    rest = size.nodes - size.train
    return GraphDataset(
        name=f"generated-{size.nodes}",
        task="node_classification",
        packed=packed,
        y=torch.randint(size.classes, (size.nodes,), generator=draw),
        num_classes=size.classes,
        x=torch.randn(size.nodes, size.channels, generator=draw),
        official=Split(*torch.split(order, [size.train, rest // 5, rest - rest // 5])),
        synthetic=True,
    )
