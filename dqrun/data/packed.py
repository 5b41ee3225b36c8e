"""`PackedGraphs`: all graphs of a dataset in flat tensors, from which a batch with its CSR is gathered.

Everything that can be sorted is sorted once, per dataset; `gather` only copies runs and adds offsets, so that a
batch costs a few milliseconds however many graphs it holds.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property

import torch
from torch import Tensor

from dqrun.errors import DataError
from dqrun.graphs import CSR, Graph


@dataclass(frozen=True)
class PackedGraphs:
    """G graphs with N nodes and E edges in all; all int64 but `degree_rank`.

    Node ids in `col`, `row` and `t_col`, and edge positions in `t_edge`, are local: they count from the first node
    or edge of their own graph. Within a graph the orders are those of `dqrun.graphs.CSR`.
    """

    node_ptr: Tensor  # [G + 1] first node of each graph
    edge_ptr: Tensor  # [G + 1] first edge of each graph
    col: Tensor  # [E] source of each edge, edges sorted by target
    row: Tensor  # [E] target of each edge
    t_col: Tensor  # [E] target of each edge, edges sorted by source
    t_edge: Tensor  # [E] position in `col`/`row` of each edge of the transposed order
    edges_in: Tensor  # [N] number of present edges that enter each node
    edges_out: Tensor  # [N] number of present edges that leave each node
    in_degree: Tensor  # [N] number of raw edges that enter each node, self-loops not counted
    degree_rank: Tensor  # float32 [N] share of the nodes of the same graph with at most this node's in-degree

    @classmethod
    def from_edges(cls, edge_index_local: Tensor, node_counts: Tensor, edge_counts: Tensor) -> PackedGraphs:
        """Packs graphs given one after the other.

        `edge_index_local`: int64 [2, E], row 0 the source and row 1 the target, counted from the first node of the
        edge's own graph; `node_counts`, `edge_counts`: int64 [G]. Raises DataError for an edge to a node that its
        graph does not have, and for counts that do not add up. O(E log E + N log N), no loop over graphs.
        """
        num_edges = edge_index_local.size(1)
        if int(edge_counts.sum()) != num_edges:
            raise DataError(f"{num_edges} edges were given for counts that add up to {int(edge_counts.sum())}")
        sizes = node_counts.repeat_interleave(edge_counts)
        if bool(((edge_index_local < 0) | (edge_index_local >= sizes)).any()):
            raise DataError("an edge names a node that its graph does not have")
        node_ptr = _pointer(node_counts)
        offset = node_ptr[:-1].repeat_interleave(edge_counts)
        source, target = edge_index_local[0] + offset, edge_index_local[1] + offset
        in_degree = torch.bincount(target[source != target], minlength=int(node_ptr[-1]))
        return cls._pack(source, target, node_ptr, in_degree, degree_rank(in_degree, node_ptr))

    @classmethod
    def _pack(
        cls, source: Tensor, target: Tensor, node_ptr: Tensor, in_degree: Tensor, degree_rank: Tensor
    ) -> PackedGraphs:
        """Sorts edges with dataset-wide node ids (int64 [E]) both ways and makes ids and positions local."""
        csr = CSR.from_edge_index(torch.stack([source, target]), int(node_ptr[-1]))
        edge_ptr = csr.rowptr[node_ptr]
        first_node = node_ptr[:-1].repeat_interleave(edge_ptr.diff())
        first_edge = edge_ptr[:-1].repeat_interleave(edge_ptr.diff())
        return cls(
            node_ptr=node_ptr,
            edge_ptr=edge_ptr,
            col=csr.col - first_node,
            row=csr.row - first_node,
            t_col=csr.t_col - first_node,
            t_edge=csr.t_edge - first_edge,
            edges_in=csr.in_degree,
            edges_out=csr.out_degree,
            in_degree=in_degree,
            degree_rank=degree_rank,
        )

    @property
    def num_graphs(self) -> int:
        return self.node_ptr.numel() - 1

    @property
    def num_nodes(self) -> int:
        return self.in_degree.numel()

    @property
    def num_edges(self) -> int:
        return self.col.numel()

    def with_self_loops(self) -> PackedGraphs:
        """The graphs with exactly one self-loop per node, after the node's other edges.

        This is what PyG's `gcn_norm` and `GATConv` do for unweighted graphs: self-loops of the raw data are removed,
        then one is added everywhere. `in_degree` and `degree_rank` stay those of the raw edges. Built once.
        """
        return self._looped

    @cached_property
    def _looped(self) -> PackedGraphs:
        kept = self.col != self.row
        offset = self.node_ptr[:-1].repeat_interleave(self.edge_ptr.diff())[kept]
        loops = torch.arange(self.num_nodes, device=self.col.device)
        source, target = (torch.cat([ids[kept] + offset, loops]) for ids in (self.col, self.row))
        return self._pack(source, target, self.node_ptr, self.in_degree, self.degree_rank)

    def gather(self, graph_ids: Tensor) -> tuple[Graph, Tensor]:
        """The batch of the graphs `graph_ids` (int64 [K], any order, repeats allowed).

        Returns the structure, equal to `CSR.from_edge_index` on PyG's collation of the same graphs, and
        `node_index` int64 [n]: where each node of the batch lies in this dataset (to gather features with).
        """
        if self.num_graphs == 1 and graph_ids.numel() == 1:
            return self._only_graph
        node_counts, edge_counts = self.node_ptr.diff()[graph_ids], self.edge_ptr.diff()[graph_ids]
        node_ptr, edge_ptr = _pointer(node_counts), _pointer(edge_counts)
        num_nodes, num_edges = int(node_ptr[-1]), int(edge_ptr[-1])
        node_index = _runs(self.node_ptr[graph_ids] - node_ptr[:-1], node_counts, num_nodes)
        edge_index = _runs(self.edge_ptr[graph_ids] - edge_ptr[:-1], edge_counts, num_edges)
        first_node = node_ptr[:-1].repeat_interleave(edge_counts, output_size=num_edges)
        first_edge = edge_ptr[:-1].repeat_interleave(edge_counts, output_size=num_edges)
        csr = CSR(
            rowptr=_pointer(self.edges_in[node_index]),
            col=self.col[edge_index].add_(first_node),
            row=self.row[edge_index].add_(first_node),
            t_rowptr=_pointer(self.edges_out[node_index]),
            t_col=self.t_col[edge_index].add_(first_node),
            t_edge=self.t_edge[edge_index].add_(first_edge),
        )
        graphs = torch.arange(graph_ids.numel(), device=graph_ids.device)
        batch = graphs.repeat_interleave(node_counts, output_size=num_nodes)
        return Graph(csr, node_ptr, batch, self.degree_rank[node_index]), node_index

    @cached_property
    def _only_graph(self) -> tuple[Graph, Tensor]:
        """The batch of a dataset with a single graph: local ids are the batch's ids, nothing is copied."""
        csr = CSR(
            rowptr=_pointer(self.edges_in),
            col=self.col,
            row=self.row,
            t_rowptr=_pointer(self.edges_out),
            t_col=self.t_col,
            t_edge=self.t_edge,
        )
        batch = torch.zeros_like(self.in_degree)
        node_index = torch.arange(self.num_nodes, device=batch.device)
        return Graph(csr, self.node_ptr, batch, self.degree_rank), node_index

    def to(self, device: torch.device | str) -> PackedGraphs:
        """The same graphs on another device; itself when they are there already."""
        if self.node_ptr.device == torch.device(device):
            return self
        return PackedGraphs(*(getattr(self, field.name).to(device) for field in fields(self)))


def degree_rank(in_degree: Tensor, node_ptr: Tensor) -> Tensor:
    """Empirical distribution function of the in-degree inside each graph, at each node: float32 [N], in (0, 1].

    Degree-Quant's protection probability grows with it (Tailor et al., ICLR 2021, section 3): the share of the nodes
    of the same graph whose in-degree is at most this node's. `in_degree`: int64 [N]; `node_ptr`: int64 [G + 1].
    """
    sizes = node_ptr.diff()
    graph = torch.arange(sizes.numel(), device=sizes.device).repeat_interleave(sizes)
    base = int(in_degree.max()) + 1 if in_degree.numel() else 1
    key = graph * base + in_degree  # sorted by graph, then by degree
    at_most = torch.searchsorted(torch.sort(key).values, key, right=True) - node_ptr[graph]
    return (at_most.double() / sizes[graph]).float()


def _pointer(counts: Tensor) -> Tensor:
    """Start of each run of the given lengths, int64 [len + 1]."""
    pointer = counts.new_zeros(counts.numel() + 1)
    torch.cumsum(counts, 0, out=pointer[1:])
    return pointer


def _runs(shift: Tensor, counts: Tensor, total: int) -> Tensor:
    """Positions of consecutive runs, int64 [total]: run k has `counts[k]` positions, its batch places + `shift[k]`."""
    return shift.repeat_interleave(counts, output_size=total).add_(torch.arange(total, device=shift.device))
