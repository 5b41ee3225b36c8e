"""Graphs that the kernel tests share."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch

from dqrun.graphs import CSR

RandomGraph = Callable[..., CSR]


@pytest.fixture(scope="session")
def random_graph() -> RandomGraph:
    """Directed multigraphs with self-loops and isolated nodes; a hub takes part in half of all edges."""

    def build(num_nodes: int, num_edges: int, hub: str = "none", seed: int = 0) -> CSR:
        generator = torch.Generator().manual_seed(seed)
        edge_index = torch.randint(0, num_nodes, (2, num_edges), generator=generator)
        if hub in ("source", "both"):
            edge_index[0, num_edges // 3 : num_edges * 5 // 6] = num_nodes // 2
        if hub in ("target", "both"):
            edge_index[1, : num_edges // 2] = num_nodes // 3
        return CSR.from_edge_index(edge_index, num_nodes)

    return build


@pytest.fixture(params=[1, 2])
def num_threads(request: pytest.FixtureRequest) -> Iterator[int]:
    """Runs a test with that many torch threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)
