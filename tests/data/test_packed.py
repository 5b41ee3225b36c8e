"""Packing is held against PyG's collation and against definitions written with loops."""

from __future__ import annotations

from dataclasses import fields

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.data import Batch, Data
from torch_geometric.utils import add_self_loops, remove_self_loops

from dqrun.data.packed import PackedGraphs, degree_rank
from dqrun.errors import DataError
from dqrun.graphs import CSR, Graph

RawGraph = tuple[int, list[tuple[int, int]]]  # nodes, edges: multi-edges, self-loops and none at all


@st.composite
def raw_graphs(draw: st.DrawFn) -> RawGraph:
    nodes = draw(st.integers(1, 6))
    ends = st.integers(0, nodes - 1)
    return nodes, draw(st.lists(st.tuples(ends, ends), max_size=12))


datasets = st.lists(raw_graphs(), min_size=1, max_size=5)


def edge_index_of(edges: list[tuple[int, int]]) -> torch.Tensor:
    return torch.tensor(edges, dtype=torch.int64).reshape(-1, 2).T


def pack(graphs: list[RawGraph]) -> PackedGraphs:
    return PackedGraphs.from_edges(
        edge_index_of([edge for _, edges in graphs for edge in edges]),
        torch.tensor([nodes for nodes, _ in graphs]),
        torch.tensor([len(edges) for _, edges in graphs]),
    )


def collate(graphs: list[RawGraph]) -> Data:
    return Batch.from_data_list([Data(edge_index=edge_index_of(edges), num_nodes=nodes) for nodes, edges in graphs])


def assert_same_csr(got: CSR, edge_index: torch.Tensor, num_nodes: int) -> None:
    expected = CSR.from_edge_index(edge_index, num_nodes)
    for field in fields(CSR):
        assert torch.equal(getattr(got, field.name).long(), getattr(expected, field.name)), field.name


@given(datasets, st.data())
def test_a_gathered_batch_equals_the_csr_of_pyg_s_collated_batch(graphs: list[RawGraph], data: st.DataObject) -> None:
    ids = data.draw(st.lists(st.integers(0, len(graphs) - 1), min_size=1, max_size=6))
    graph, node_index = pack(graphs).gather(torch.tensor(ids))
    expected = collate([graphs[i] for i in ids])
    assert_same_csr(graph.csr, expected.edge_index, expected.num_nodes)
    assert torch.equal(graph.node_ptr, expected.ptr)
    assert torch.equal(graph.batch, expected.batch)
    starts = [sum(nodes for nodes, _ in graphs[:i]) for i in ids]
    rows = [start + node for start, i in zip(starts, ids, strict=True) for node in range(graphs[i][0])]
    assert node_index.tolist() == rows


@given(datasets)
def test_self_loops_equal_pyg_s_removal_and_addition(graphs: list[RawGraph]) -> None:
    packed = pack(graphs)
    looped = packed.with_self_loops()
    graph, _ = looped.gather(torch.arange(len(graphs)))
    batch = collate(graphs)
    expected = add_self_loops(remove_self_loops(batch.edge_index)[0], num_nodes=batch.num_nodes)[0]
    assert_same_csr(graph.csr, expected, batch.num_nodes)
    assert looped.in_degree is packed.in_degree and looped.degree_rank is packed.degree_rank
    assert packed.with_self_loops() is looped


@given(datasets)
def test_degrees_and_ranks_equal_their_definition(graphs: list[RawGraph]) -> None:
    packed = pack(graphs)
    degrees = [
        [sum(target == node != source for source, target in edges) for node in range(nodes)] for nodes, edges in graphs
    ]
    ranks = [sum(other <= degree for other in own) / len(own) for own in degrees for degree in own]
    assert packed.in_degree.tolist() == [degree for own in degrees for degree in own]
    assert packed.degree_rank.dtype == torch.float32
    torch.testing.assert_close(packed.degree_rank, torch.tensor(ranks, dtype=torch.float32), rtol=0, atol=1e-7)


@given(datasets)
@settings(max_examples=20)
def test_sizes_are_those_of_the_raw_graphs(graphs: list[RawGraph]) -> None:
    packed = pack(graphs)
    assert packed.num_graphs == len(graphs)
    assert packed.num_nodes == sum(nodes for nodes, _ in graphs)
    assert packed.num_edges == sum(len(edges) for _, edges in graphs)


def test_the_only_graph_of_a_dataset_is_made_once() -> None:
    packed = pack([(3, [(0, 1), (1, 2)])])
    first: Graph = packed.gather(torch.tensor([0]))[0]
    assert first.csr.t_edge is packed.edges.t_edge and first.csr.col.dtype == torch.int64
    assert packed.gather(torch.tensor([0]))[0] is first


@given(raw_graphs(), st.booleans())
@settings(max_examples=30)
def test_one_graph_in_parts_stores_sources_in_32_bits_and_nothing_else_before_it_is_read(
    graph: RawGraph, loops: bool
) -> None:
    packed = pack([graph]).with_self_loops() if loops else pack([graph])
    csr = packed.in_parts.csr
    assert csr.col.dtype == torch.int32 and set(vars(csr)) == {"rowptr", "col"}
    assert set(vars(packed.edges)) == {"node_ptr", "edge_ptr", "col", "edges_in"}
    edges = edge_index_of(graph[1])
    if loops:
        edges, _ = add_self_loops(remove_self_loops(edges)[0], num_nodes=graph[0])
    assert_same_csr(csr, edges, graph[0])


def test_moving_to_the_same_device_gives_the_same_object() -> None:
    packed = pack([(2, [(0, 1)])])
    assert packed.to("cpu") is packed


def test_an_edge_outside_its_graph_is_an_error() -> None:
    with pytest.raises(DataError, match="names a node that its graph does not have"):
        pack([(2, [(0, 2)]), (2, [])])


def test_counts_must_add_up() -> None:
    with pytest.raises(DataError, match="1 edges were given for counts that add up to 2"):
        PackedGraphs.from_edges(edge_index_of([(0, 1)]), torch.tensor([2]), torch.tensor([2]))


def test_rank_of_no_nodes_is_empty() -> None:
    assert degree_rank(torch.zeros(0, dtype=torch.int64), torch.zeros(1, dtype=torch.int64)).shape == (0,)
