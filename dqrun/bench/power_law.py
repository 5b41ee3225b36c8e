"""A random graph whose in-degrees follow a power law: what hubs do to aggregation is seen on it."""

from __future__ import annotations

import torch
from torch import Tensor

EXPONENT = 2.5  # P(in-degree = d) ~ d^-2.5, as in many citation and social networks


def power_law_edges(num_nodes: int, num_edges: int, seed: int = 0) -> Tensor:
    """PyG's edge_index, int64 [2, num_edges]: sources uniform, targets by a power law, ids in random order."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.arange(1, num_nodes + 1, dtype=torch.float64) ** (-1 / (EXPONENT - 1))
    upto = weight.cumsum(0)
    drawn = torch.rand(num_edges, generator=generator, dtype=torch.float64) * upto[-1]
    rank = torch.searchsorted(upto, drawn).clamp(max=num_nodes - 1)
    target = torch.randperm(num_nodes, generator=generator)[rank]
    source = torch.randint(num_nodes, (num_edges,), generator=generator)
    return torch.stack([source, target])
