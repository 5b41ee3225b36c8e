"""Small networks as a user of PyG writes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.nn import GATConv, GCNConv, GINConv, global_add_pool
from torch_geometric.nn import Linear as PyGLinear

WIDTH, HIDDEN, CLASSES, NODES, GRAPHS = 6, 8, 3, 20, 4


class Nodes(nn.Module):
    """Two convolutions with functional ReLU and dropout between, as in PyG's examples."""

    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.conv1, self.conv2 = first, second

    def forward(self, x: Tensor, edge_index: Tensor, batch: Tensor | None = None) -> Tensor:
        x = F.dropout(F.relu(self.conv1(x, edge_index)), 0.5, self.training)
        return self.conv2(x, edge_index)  # type: ignore[no-any-return]


class Graphs(nn.Module):
    """GIN with batch norms, pooling and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = PyGLinear(WIDTH, HIDDEN)
        self.convs = nn.ModuleList(
            GINConv(nn.Sequential(nn.Linear(HIDDEN, HIDDEN), nn.BatchNorm1d(HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 8)))
            for _ in range(2)
        )
        self.head = nn.Linear(HIDDEN, CLASSES, bias=False)

    def forward(self, x: Tensor, edge_index: Tensor, batch: Tensor) -> Tensor:
        x = self.encoder(x)
        for conv in self.convs:
            x = conv(x, edge_index).relu()
        return self.head(global_add_pool(x, batch))  # type: ignore[no-any-return]


def gcn() -> nn.Module:
    return Nodes(GCNConv(WIDTH, HIDDEN), GCNConv(HIDDEN, CLASSES, bias=False))


def gat() -> nn.Module:
    return Nodes(GATConv(WIDTH, 4, heads=2, dropout=0.2), GATConv(8, CLASSES, heads=2, concat=False))


NETWORKS: dict[str, Callable[[], nn.Module]] = {"gcn": gcn, "gat": gat, "gin": Graphs}


@pytest.fixture(params=sorted(NETWORKS))
def network(request: pytest.FixtureRequest) -> nn.Module:
    torch.manual_seed(0)
    made: nn.Module = NETWORKS[request.param]()
    for name, parameter in made.named_parameters():
        if "bias" in name or "eps" in name:  # PyG begins with zeros, which hide mistakes
            nn.init.normal_(parameter)
    return made


@pytest.fixture
def batch() -> dict[str, Any]:
    """Four graphs of five nodes; two self-loops and a repeated edge."""
    generator = torch.Generator().manual_seed(1)
    graphs = torch.arange(NODES) // (NODES // GRAPHS)
    source = torch.randint(NODES, (60,), generator=generator)
    target = graphs[source] * 5 + torch.randint(5, (60,), generator=generator)
    edges = torch.stack([source, target])
    edges = torch.cat([edges, edges[:, :1], torch.tensor([[0, 7], [0, 7]])], 1)
    return {"x": torch.rand(NODES, WIDTH, generator=generator), "edge_index": edges, "batch": graphs}
