"""A random graph whose in-degrees follow a power law; its hubs are hard cases for aggregation."""

from __future__ import annotations

import torch
from torch import Tensor

EXPONENT = 2.5  # P(in-degree = d) ~ d^-2.5, as in many citation and social networks


def power_law_edges(num_nodes: int, num_edges: int, seed: int = 0) -> Tensor:
    """PyG's edge_index, int64 [2, num_edges]: sources uniform, targets by a power law, ids and edges in random order.

    Without self-loops and multi-edges, because PyG's sparse forms treat these differently. num_edges must be well below
    num_nodes^2.
    """
    generator = torch.Generator().manual_seed(seed)
    weight = torch.arange(1, num_nodes + 1, dtype=torch.float64) ** (-1 / (EXPONENT - 1))
    upto, name = weight.cumsum(0), torch.randperm(num_nodes, generator=generator)
    edges = torch.empty(0, dtype=torch.int64)
    while edges.numel() < num_edges:
        drawn = torch.rand(num_edges, generator=generator, dtype=torch.float64) * upto[-1]
        target = name[torch.searchsorted(upto, drawn).clamp(max=num_nodes - 1)]
        source = torch.randint(num_nodes, (num_edges,), generator=generator)
        new = (source * num_nodes + target)[source != target]
        edges = torch.unique(torch.cat([edges, new]))
    kept = edges[torch.randperm(edges.numel(), generator=generator)[:num_edges]]
    return torch.stack([kept // num_nodes, kept % num_nodes])
