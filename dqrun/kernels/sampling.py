"""Parts of a large graph as graphs of their own: samples for training, clusters, and blocks for exact evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from dqrun.graphs import CSR, ForwardEdges, Graph

if TYPE_CHECKING:
    from dqrun.kernels.cpu.launch import Array


class Parts:
    """Extracts parts of one graph. Each thread needs an instance of its own.

    A part has the degree ranks and the normalisation of its nodes in the whole graph. If edges of a node are missing in
    a part, `Graph.sum_scale` is the factor for sums over its remaining edges.
    """

    def __init__(self, graph: Graph, loops: bool) -> None:
        """`graph`: the whole graph, on the CPU; `loops`: the last edge of each node is its only self-loop."""
        self.graph, self.loops = graph, loops
        self._rowptr, self._col = graph.csr.rowptr.numpy(), graph.csr.col.numpy()
        self._place: Array = np.full(graph.num_nodes, -1, np.int64)

    def sample(self, seeds: Tensor, fanouts: Sequence[int], seed: int) -> tuple[Graph, Tensor]:
        """A graph around `seeds` (int64 [B], different nodes) and its nodes, int64 [n], the seeds first.

        A node at distance h from them (0 for themselves) has fanouts[h] of its edges, or all if it has no more, drawn
        without replacement by a generator that begins at `seed`. Self-loops that layers want are always there.
        """
        from dqrun.kernels.cpu import neighbours

        state = np.array([seed], np.uint64)
        wanted = np.array(fanouts, np.int64)
        graph = self._rowptr, self._col
        nodes, *edges = neighbours.sample(*graph, seeds.numpy(), wanted, int(self.loops), state, self._place)
        return self._sampled(nodes, *edges)

    def induced(self, nodes: Tensor) -> tuple[Graph, Tensor]:
        """The graph of all edges between `nodes`, int64 [n], all different; and the nodes."""
        from dqrun.kernels.cpu import neighbours

        given = nodes.numpy()
        return self._sampled(given, *neighbours.induce(self._rowptr, self._col, given, self._place))

    def block(self, first: int, last: int) -> tuple[Graph, Tensor]:
        """The graph of all edges into the nodes first..last - 1, and its nodes: these, then the other sources.

        A layer's result for the first `last - first` rows is its result for these nodes in the whole graph. The part
        has no edges sorted by source, which only backward passes need.
        """
        from dqrun.kernels.cpu import neighbours

        nodes, source = neighbours.neighbourhood(self._rowptr, self._col, first, last, self._place)
        begin, end = self._rowptr[first], self._rowptr[last]
        pointer = np.full(nodes.size + 1, end - begin, np.int64)
        pointer[: last - first + 1] = self._rowptr[first : last + 1] - begin
        edges = ForwardEdges(torch.from_numpy(pointer), torch.from_numpy(source))
        graph, found = self._part(nodes, edges, slice(begin, end))
        return replace(graph, sum_scale=None), found

    def rows(self, first: int, last: int) -> tuple[Graph, Tensor]:
        """The nodes first..last - 1 as a graph without edges, which knows their degrees in the whole graph."""
        nodes, nothing = np.arange(first, last), torch.empty(0, dtype=torch.int64)
        edges = ForwardEdges(torch.zeros(nodes.size + 1, dtype=torch.int64), nothing)
        graph, found = self._part(nodes, edges, slice(0, 0))
        return replace(graph, sum_scale=None), found

    def _sampled(self, nodes: Array, pointer: Array, source: Array, edge: Array) -> tuple[Graph, Tensor]:
        return self._part(nodes, _csr(pointer, source), torch.from_numpy(edge))

    def _part(self, nodes: Array, csr: CSR, edges: Tensor | slice) -> tuple[Graph, Tensor]:
        """The part with these nodes and edges; `edges`: their places in the whole graph."""
        whole, index = self.graph, torch.from_numpy(nodes)
        loops = int(self.loops)
        degree = whole.csr.rowptr[index + 1] - whole.csr.rowptr[index]
        left, all_edges = csr.in_degree - loops, degree - loops
        scale = torch.where(left > 0, all_edges / left.clamp(min=1), 1.0)
        part = Graph(
            csr=csr,
            node_ptr=torch.tensor([0, nodes.size]),
            batch=torch.zeros(nodes.size, dtype=torch.int64),
            degree_rank=whole.degree_rank[index],
            edge_weight=None if whole.edge_weight is None else whole.edge_weight[edges],
            edge_attr=None if whole.edge_attr is None else whole.edge_attr[edges],
            whole_inverse_sqrt_degree=whole.inverse_sqrt_degree[index],
            whole_in_degree=degree,
            sum_scale=scale,
        )
        return part, index


def _csr(pointer: Array, source: Array) -> CSR:
    from dqrun.kernels.cpu import neighbours

    row, t_col, t_edge = (np.empty(source.size, np.int64) for _ in range(3))
    t_pointer = np.zeros(pointer.size, np.int64)
    neighbours.transpose(pointer, source, row, t_pointer, t_col, t_edge)
    return CSR(*(torch.from_numpy(each) for each in (pointer, source, row, t_pointer, t_col, t_edge)))
