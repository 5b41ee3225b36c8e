"""Small graphs for tests of layers."""

from collections.abc import Callable

import pytest
import torch
from torch_geometric.utils import add_self_loops, remove_self_loops

from dqrun.graphs import CSR, Graph


@pytest.fixture
def random_graph() -> Callable[..., Graph]:
    """Makes two graphs with random edges in one batch; with `self_loops` exactly one per node."""

    def make(num_nodes: int = 30, num_edges: int = 90, self_loops: bool = False) -> Graph:
        edge_index = torch.randint(num_nodes, (2, num_edges), generator=torch.Generator().manual_seed(0))
        if self_loops:
            edge_index = add_self_loops(remove_self_loops(edge_index)[0], num_nodes=num_nodes)[0]
        return Graph(
            csr=CSR.from_edge_index(edge_index, num_nodes),
            node_ptr=torch.tensor([0, num_nodes // 2, num_nodes]),
            batch=(torch.arange(num_nodes) >= num_nodes // 2).long(),
            degree_rank=torch.ones(num_nodes),
        )

    return make
