"""PyG's tensors as the structure of a program."""

import pytest
import torch

from dqrun.errors import DataError
from dqrun.integer.structure import build_graph

EDGES = torch.tensor([[0, 1, 2, 2], [1, 0, 2, 1]])


def test_self_loops_are_replaced_by_one_per_node() -> None:
    graph = build_graph(EDGES, 4, None, self_loops=True)
    assert sorted(zip(graph.csr.row.tolist(), graph.csr.col.tolist(), strict=True)) == [
        (0, 0), (0, 1), (1, 0), (1, 1), (1, 2), (2, 2), (3, 3),
    ]  # fmt: skip
    assert graph.node_ptr.tolist() == [0, 4]


def test_raw_edges() -> None:
    assert build_graph(EDGES, 4, None, self_loops=False).csr.in_degree.tolist() == [1, 2, 1, 0]


@pytest.mark.parametrize(("batch", "pointer"), [([0, 0, 1, 2], [0, 2, 3, 4]), ([0] * 4, [0, 4])])
def test_graphs_of_nodes(batch: list[int], pointer: list[int]) -> None:
    assert build_graph(EDGES, 4, torch.tensor(batch), self_loops=False).node_ptr.tolist() == pointer


def test_no_nodes() -> None:
    none = torch.zeros(2, 0, dtype=torch.int64)
    assert build_graph(none, 0, none[0], self_loops=True).node_ptr.tolist() == [0]
    assert build_graph(none, 0, None, self_loops=True).node_ptr.tolist() == [0, 0]


@pytest.mark.parametrize(
    ("edge_index", "batch", "message"),
    [
        (EDGES.int(), None, r"edge_index must be int64 \[2, E\], got torch.int32"),
        (EDGES.t(), None, r"edge_index must be int64 \[2, E\], got torch.int64 \[4, 2\]"),
        (EDGES + 2, None, r"edge_index must name nodes in 0\.\.3, got 2\.\.4"),
        (EDGES - 1, None, r"edge_index must name nodes in 0\.\.3, got -1\.\.1"),
        (EDGES, torch.tensor([0, 1, 0, 1]), "batch must hold 0..G-1 in ascending order without gaps, got 0 after 1"),
        (EDGES, torch.tensor([0, 0, 2, 2]), "without gaps, got 2 after 0"),
        (EDGES, torch.tensor([3, 3, 4, 4]), "without gaps, got 3 first"),
        (EDGES, torch.tensor([-1, -1, 0, 0]), "without gaps, got -1 first"),
        (EDGES, torch.tensor([0, 0, 0, 2**63 - 1]), "without gaps, got 9223372036854775807 after 0"),
        (EDGES, torch.tensor([2**63 - 1] * 4), "without gaps, got 9223372036854775807 first"),
        (EDGES, torch.zeros(4), r"batch must be int64 \[4\], got torch.float32"),
        (EDGES, torch.tensor([0, 0, 1]), r"batch must be int64 \[4\]"),
    ],
)
def test_what_does_not_fit_is_refused(edge_index: torch.Tensor, batch: torch.Tensor | None, message: str) -> None:
    with pytest.raises(DataError, match=message):
        build_graph(edge_index, 4, batch, self_loops=False)
