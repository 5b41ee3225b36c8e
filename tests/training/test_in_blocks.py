"""A network on a whole graph in blocks gives what it gives at once."""

from __future__ import annotations

import pytest
import torch

from dqrun.config import ModelConfig
from dqrun.graphs.pyg import build_graph
from dqrun.nn.build import build_network
from dqrun.training.in_blocks import pass_in_blocks


@pytest.mark.parametrize("block", [1, 7, 64])
@pytest.mark.parametrize("name", ["gcn", "gat", "gatv2", "gin", "gine", "sage"])
def test_blocks_give_the_logits_of_the_whole(name: str, block: int) -> None:
    torch.manual_seed(0)
    loops = name in ("gcn", "gat", "gatv2")
    attr = torch.rand(300, 2) if name == "gine" else None
    graph = build_graph(torch.randint(0, 40, (2, 300)), 40, None, loops, edge_attr=attr)
    config = ModelConfig(
        name=name, layers=3, hidden=8, heads=2 if "gat" in name else 1, norm="batch", residual=True, encoder="linear"
    )
    model = build_network(config, 5, 0, 3, graph_level=False, edge_channels=2).eval()
    x = torch.randn(40, 5)
    with torch.no_grad():
        expected = model(x, graph)
    found = pass_in_blocks(model, x.__getitem__, graph, block)
    assert torch.allclose(found, expected, rtol=1e-5, atol=1e-6)
