"""PyG's tensors as a graph: the edges, weights and features that PyG's own layers make of them."""

from __future__ import annotations

import pytest
import torch
from torch_geometric.utils import add_remaining_self_loops, add_self_loops, remove_self_loops

from dqrun.errors import DataError
from dqrun.graphs.pyg import build_graph, with_self_loops

EDGES = torch.tensor([[0, 1, 2, 2, 2, 3], [1, 0, 2, 1, 2, 1]])
WEIGHT = torch.tensor([0.5, 2.0, 3.0, 4.0, 5.0, 6.0])


def test_self_loops_have_the_weights_of_pyg() -> None:
    edges, weight, attr = with_self_loops(EDGES, 4, WEIGHT)
    theirs, their_weight = add_remaining_self_loops(EDGES, WEIGHT, 1.0, 4)
    assert torch.equal(edges, theirs) and attr is None
    assert weight is not None and torch.equal(weight, their_weight)


def test_self_loops_have_the_mean_features_of_pyg() -> None:
    features = torch.arange(12.0).view(6, 2)
    edges, _, attr = with_self_loops(EDGES, 4, None, features)
    theirs, their_features = add_self_loops(*remove_self_loops(EDGES, features), "mean", 4)
    assert torch.equal(edges, theirs)
    assert attr is not None and torch.equal(attr, their_features)


@pytest.mark.parametrize("self_loops", [True, False])
def test_edge_data_follow_the_order_of_the_edges(self_loops: bool) -> None:
    code = 10 * EDGES[0] + EDGES[1]
    graph = build_graph(EDGES, 4, None, self_loops, code.float(), code.float().unsqueeze(1))
    expected = (10 * graph.csr.col + graph.csr.row).float()
    is_loop = graph.csr.col == graph.csr.row
    assert graph.edge_weight is not None and graph.edge_attr is not None
    others = ~is_loop | torch.tensor(not self_loops)
    assert torch.equal(graph.edge_weight[others], expected[others])
    assert torch.equal(graph.edge_attr[others, 0], expected[others])


def test_categories_have_no_self_loops() -> None:
    assert build_graph(EDGES, 4, None, True, None, torch.arange(6)).edge_attr is None
    raw = build_graph(EDGES, 4, None, False, None, torch.arange(6)).edge_attr
    assert raw is not None and raw.tolist() == [1, 0, 3, 5, 2, 4]


@pytest.mark.parametrize("name", ["edge_weight", "edge_attr"])
def test_edge_data_of_other_edges_are_refused(name: str) -> None:
    with pytest.raises(DataError, match=f"{name} must have a row for each of 6 edges, got"):
        build_graph(EDGES, 4, None, False, **{name: WEIGHT[:3]})
