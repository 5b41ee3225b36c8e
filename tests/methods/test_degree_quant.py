"""Protection against a brute-force reading of the paper."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dqrun.data.packed import PackedGraphs
from dqrun.graphs import Graph
from dqrun.methods.dq import DegreeQuant, DegreeQuantConfig, ProtectionConfig


def pack(graphs: list[tuple[int, list[tuple[int, int]]]]) -> Graph:
    edges = [edge for _, graph_edges in graphs for edge in graph_edges]
    edge_index = torch.tensor(edges, dtype=torch.int64).reshape(-1, 2).t()
    packed = PackedGraphs.from_edges(
        edge_index,
        torch.tensor([num_nodes for num_nodes, _ in graphs]),
        torch.tensor([len(graph_edges) for _, graph_edges in graphs]),
    )
    return packed.gather(torch.arange(len(graphs)))[0]


def method(p_min: float, p_max: float, layers: int = 1, per_layer: bool = False) -> DegreeQuant:
    protection = ProtectionConfig(p_min=p_min, p_max=p_max, per_layer=per_layer)
    return DegreeQuant(DegreeQuantConfig(kind="dq", name="dq", protection=protection), layers)


@st.composite
def graph(draw: st.DrawFn) -> tuple[int, list[tuple[int, int]]]:
    num_nodes = draw(st.integers(1, 7))
    node = st.integers(0, num_nodes - 1)
    return num_nodes, draw(st.lists(st.tuples(node, node).filter(lambda e: e[0] != e[1]), max_size=12)) if (
        num_nodes > 1
    ) else []


@given(st.lists(graph(), min_size=1, max_size=4), st.floats(0, 0.5), st.floats(0, 0.5))
def test_probability_is_the_share_of_nodes_with_at_most_this_degree(
    graphs: list[tuple[int, list[tuple[int, int]]]], p_min: float, extra: float
) -> None:
    expected = []
    for num_nodes, edges in graphs:
        degree = [sum(target == node for _, target in edges) for node in range(num_nodes)]
        for node in range(num_nodes):
            rank = sum(other <= degree[node] for other in degree) / num_nodes
            expected.append(p_min + extra * rank)
    protection = method(p_min, p_min + extra)
    probability = protection.probability(pack(graphs).degree_rank)
    torch.testing.assert_close(probability, torch.tensor(expected), atol=1e-6, rtol=1e-6)


def test_draw_follows_the_probability_and_the_generator() -> None:
    star = pack([(201, [(i, 0) for i in range(1, 201)])])
    protection = method(0.0, 1.0, layers=400, per_layer=True)
    drawn = protection.protect(star, torch.Generator().manual_seed(0)).protection_masks
    again = protection.protect(star, torch.Generator().manual_seed(0)).protection_masks
    assert drawn is not None and again is not None and torch.equal(drawn, again)
    assert drawn.shape == (400, 201)
    assert drawn[:, 0].all()  # the hub: F = 1
    assert drawn[:, 1:].float().mean().item() == pytest.approx(200 / 201, abs=0.01)  # 200 of 201 have at most degree 0


def test_one_mask_serves_all_layers_or_each_has_its_own() -> None:
    star = pack([(50, [(i, 0) for i in range(1, 50)])])
    generator = torch.Generator().manual_seed(0)
    one = method(0.5, 0.5, layers=4).protect(star, generator)
    assert torch.equal(one.layer(0).protection_masks, one.layer(3).protection_masks)
    each = method(0.5, 0.5, layers=4, per_layer=True).protect(star, generator)
    assert not torch.equal(each.layer(0).protection_masks, each.layer(3).protection_masks)
    assert star.protection_masks is None and star.layer(2).protection_masks is None
