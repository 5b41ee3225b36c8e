"""`PackedGraphs`: all graphs of a dataset in flat tensors, from which a batch with its CSR is gathered.

All sorting is done once per dataset; `gather` only copies runs and adds offsets, so that a batch takes a few
milliseconds for any number of graphs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from dqrun.data.packed_edges import PackedEdges
from dqrun.errors import DataError
from dqrun.graphs import CSR, Graph, InEdges
from dqrun.kernels.grouping import group_by_target, with_loops


@dataclass(frozen=True)
class PackedGraphs:
    """G graphs with N nodes and E edges in all. Within a graph the orders are those of `dqrun.graphs.CSR`."""

    edges: PackedEdges
    in_degree: Tensor  # int64 [N] number of raw edges that enter each node, self-loops not counted
    degree_rank: Tensor  # float32 [N] share of the nodes of the same graph with at most this node's in-degree
    edge_weight: Tensor | None = None  # float32 [E], >= 0, in the order of `col`
    edge_attr: Tensor | None = None  # float32 [E, D], or int64 categories [E] or [E, K], in the order of `col`

    @classmethod
    def from_edges(
        cls,
        edge_index_local: Tensor,
        node_counts: Tensor,
        edge_counts: Tensor,
        edge_weight: Tensor | None = None,
        edge_attr: Tensor | None = None,
    ) -> PackedGraphs:
        """Packs graphs given one after the other.

        `edge_index_local`: int64 or int32 [2, E], row 0 the source and row 1 the target, counted from the first node of
        the edge's own graph; `node_counts`, `edge_counts`: int64 [G]; `edge_weight` float32 [E] and `edge_attr`
        (float32 [E, D] or int64 [E]) in the order of `edge_index_local`. Raises DataError for an edge to a node that
        its graph does not have, and for inconsistent counts. O(E log E + N log N), without a loop over graphs; for one
        graph O(E + N log N), with little memory in addition to the result.
        """
        num_edges = edge_index_local.size(1)
        if int(edge_counts.sum()) != num_edges:
            raise DataError(f"{num_edges} edges were given for counts that add up to {int(edge_counts.sum())}")
        if node_counts.numel() == 1:
            return cls._one_graph(edge_index_local, int(node_counts), edge_weight, edge_attr)
        edge_index_local, sizes = edge_index_local.long(), node_counts.repeat_interleave(edge_counts)
        if bool(((edge_index_local < 0) | (edge_index_local >= sizes)).any()):
            raise DataError("an edge names a node that its graph does not have")
        node_ptr = _pointer(node_counts)
        offset = node_ptr[:-1].repeat_interleave(edge_counts)
        source, target = edge_index_local[0] + offset, edge_index_local[1] + offset
        in_degree = torch.bincount(target[source != target], minlength=int(node_ptr[-1]))
        rank = degree_rank(in_degree, node_ptr)
        return cls._pack(source, target, node_ptr, in_degree, rank, edge_weight, edge_attr)

    @classmethod
    def _one_graph(
        cls, edge_index: Tensor, num_nodes: int, edge_weight: Tensor | None, edge_attr: Tensor | None
    ) -> PackedGraphs:
        if edge_index.numel() and not 0 <= int(edge_index.min()) <= int(edge_index.max()) < num_nodes:
            raise DataError("an edge names a node that its graph does not have")
        has_data = edge_weight is not None or edge_attr is not None
        pointer, col, places = group_by_target(edge_index, num_nodes, has_data)
        loops = edge_index[1][edge_index[0] == edge_index[1]]
        in_degree = pointer.diff() - torch.bincount(loops, minlength=num_nodes)
        return cls(
            _edges_of_one(pointer, col),
            in_degree,
            degree_rank(in_degree, torch.tensor([0, num_nodes])),
            None if edge_weight is None else edge_weight[places],
            None if edge_attr is None else edge_attr[places],
        )

    @classmethod
    def _pack(
        cls,
        source: Tensor,
        target: Tensor,
        node_ptr: Tensor,
        in_degree: Tensor,
        degree_rank: Tensor,
        edge_weight: Tensor | None,
        edge_attr: Tensor | None,
    ) -> PackedGraphs:
        """Sorts edges with dataset-wide node ids (int64 [E]) by target and makes ids local."""
        order = torch.sort(target, stable=True).indices
        edges_in = torch.bincount(target, minlength=int(node_ptr[-1]))
        edge_ptr = _pointer(edges_in)[node_ptr]
        edges = PackedEdges(node_ptr, edge_ptr, source[order], edges_in)
        return cls(
            edges=replace(edges, col=edges.col - edges.first_node),
            in_degree=in_degree,
            degree_rank=degree_rank,
            edge_weight=None if edge_weight is None else edge_weight[order],
            edge_attr=None if edge_attr is None else edge_attr[order],
        )

    @property
    def node_ptr(self) -> Tensor:
        """First node of each graph, int64 [G + 1]."""
        return self.edges.node_ptr

    @property
    def edge_ptr(self) -> Tensor:
        """First edge of each graph, int64 [G + 1]."""
        return self.edges.edge_ptr

    @property
    def num_graphs(self) -> int:
        return self.node_ptr.numel() - 1

    @property
    def num_nodes(self) -> int:
        return self.in_degree.numel()

    @property
    def num_edges(self) -> int:
        return self.edges.col.numel()

    def with_self_loops(self) -> PackedGraphs:
        """The graphs with exactly one self-loop per node, after the node's other edges.

        This is what PyG's `gcn_norm` and `GATConv` do for unweighted graphs: self-loops of the raw data are removed,
        then one is added everywhere. `in_degree` and `degree_rank` stay those of the raw edges. Built once.

        Weights: a loop has the weight of the node's last loop in the raw data, or 1 where there is none
        (`add_remaining_self_loops`, as `gcn_norm` calls it). Edge features: a loop has the mean of the features of the
        node's other edges, zeros where there are none (`GATConv`, fill_value="mean"). Categories have no mean: the
        graphs with self-loops have none.
        """
        return self._looped

    @cached_property
    def _looped(self) -> PackedGraphs:
        if self.num_graphs == 1 and self.edge_weight is None and self.edge_attr is None:
            pointer, col, _ = with_loops(_pointer(self.edges.edges_in), self.edges.col, False)
            return replace(self, edges=_edges_of_one(pointer, col))
        edges = self.edges
        kept = edges.col != edges.row
        loops = torch.arange(self.num_nodes, device=edges.col.device)
        source, target = (torch.cat([(ids + edges.first_node)[kept], loops]) for ids in (edges.col, edges.row))
        weight = None if self.edge_weight is None else self._loop_weights(self.edge_weight, kept)
        attr = None if self.edge_attr is None else self._loop_features(self.edge_attr, kept, target[: -loops.numel()])
        looped = self._pack(source, target, self.node_ptr, self.in_degree, self.degree_rank, weight, attr)
        return looped if self.num_graphs > 1 else replace(looped, edges=looped.edges.narrow)

    def _loop_weights(self, weight: Tensor, kept: Tensor) -> Tensor:
        """Weights of the edges that are kept (bool [E]), then of a loop per node."""
        loops, raw = weight.new_ones(self.num_nodes), (~kept).nonzero().squeeze(1)
        node = (self.edges.row + self.edges.first_node)[raw]
        last = torch.cat([node[1:] != node[:-1], node.new_ones(min(node.numel(), 1), dtype=torch.bool)])
        loops[node[last]] = weight[raw[last]]
        return torch.cat([weight[kept], loops])

    def _loop_features(self, attr: Tensor, kept: Tensor, target: Tensor) -> Tensor | None:
        """Features of the edges that are kept, whose targets in the dataset are `target`, then of a loop per node."""
        if not attr.is_floating_point():
            return None
        others = attr[kept]
        sums = attr.new_zeros(self.num_nodes, attr.size(1)).index_add_(0, target, others)
        counts = torch.bincount(target, minlength=self.num_nodes).clamp_(min=1)
        return torch.cat([others, sums / counts.unsqueeze(1)])

    def with_edge_data(self, weights: bool, features: bool) -> PackedGraphs:
        """The graphs with edge weights only if `weights`, edge features only if `features`; else without them."""
        if (weights or self.edge_weight is None) and (features or self.edge_attr is None):
            return self
        return replace(
            self,
            edge_weight=self.edge_weight if weights else None,
            edge_attr=self.edge_attr if features else None,
        )

    def gather(self, graph_ids: Tensor) -> tuple[Graph, Tensor]:
        """The batch of the graphs `graph_ids` (int64 [K], any order, repeats allowed).

        Returns the structure, equal to `CSR.from_edge_index` on PyG's collation of the same graphs, and
        `node_index` int64 [n]: where each node of the batch lies in this dataset (to gather features with).
        """
        if self.num_graphs == 1 and graph_ids.numel() == 1:
            return self._only_graph, torch.arange(self.num_nodes, device=graph_ids.device)
        node_counts, edge_counts = self.node_ptr.diff()[graph_ids], self.edge_ptr.diff()[graph_ids]
        node_ptr, edge_ptr = _pointer(node_counts), _pointer(edge_counts)
        num_nodes, num_edges = int(node_ptr[-1]), int(edge_ptr[-1])
        node_index = _runs(self.node_ptr[graph_ids] - node_ptr[:-1], node_counts, num_nodes)
        edge_index = _runs(self.edge_ptr[graph_ids] - edge_ptr[:-1], edge_counts, num_edges)
        first_node = node_ptr[:-1].repeat_interleave(edge_counts, output_size=num_edges)
        first_edge = edge_ptr[:-1].repeat_interleave(edge_counts, output_size=num_edges)
        edges = self.edges
        csr = CSR(
            rowptr=_pointer(edges.edges_in[node_index]),
            col=edges.col[edge_index].long().add_(first_node),
            row=edges.row[edge_index].add_(first_node),
            t_rowptr=_pointer(edges.edges_out[node_index]),
            t_col=edges.t_col[edge_index].add_(first_node),
            t_edge=edges.t_edge[edge_index].add_(first_edge),
        )
        graphs = torch.arange(graph_ids.numel(), device=graph_ids.device)
        batch = graphs.repeat_interleave(node_counts, output_size=num_nodes)
        graph = Graph(
            csr,
            node_ptr,
            batch,
            self.degree_rank[node_index],
            edge_weight=None if self.edge_weight is None else self.edge_weight[edge_index],
            edge_attr=None if self.edge_attr is None else self.edge_attr[edge_index],
        )
        return graph, node_index

    @cached_property
    def _only_graph(self) -> Graph:
        """The batch of a dataset with a single graph, for layers that process it as a whole."""
        edges = self.edges
        csr = CSR(
            rowptr=_pointer(edges.edges_in),
            col=edges.col.long(),
            row=edges.row,
            t_rowptr=_pointer(edges.edges_out),
            t_col=edges.t_col,
            t_edge=edges.t_edge,
        )
        return self._graph_of(csr)

    @cached_property
    def in_parts(self) -> Graph:
        """The single graph of a dataset for `kernels.sampling`, which extracts parts: edges sorted by target only."""
        return self._graph_of(InEdges(_pointer(self.edges.edges_in), self.edges.col))

    def _graph_of(self, csr: CSR) -> Graph:
        batch = torch.zeros_like(self.in_degree)
        return Graph(
            csr, self.node_ptr, batch, self.degree_rank, edge_weight=self.edge_weight, edge_attr=self.edge_attr
        )

    def to(self, device: torch.device | str) -> PackedGraphs:
        """The same graphs on another device; itself when they are there already."""
        if self.node_ptr.device == torch.device(device):
            return self
        return PackedGraphs(
            edges=self.edges.to(device),
            in_degree=self.in_degree.to(device),
            degree_rank=self.degree_rank.to(device),
            edge_weight=None if self.edge_weight is None else self.edge_weight.to(device),
            edge_attr=None if self.edge_attr is None else self.edge_attr.to(device),
        )


def _edges_of_one(pointer: Tensor, col: Tensor) -> PackedEdges:
    """The edges of a single graph; `pointer`: int64 [N + 1] first edge of each node."""
    ends = torch.tensor([0, col.numel()])
    return PackedEdges(torch.tensor([0, pointer.numel() - 1]), ends, col, pointer.diff())


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
