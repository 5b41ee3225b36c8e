"""`PackedGraphs`: all graphs of a dataset in flat tensors, from which a batch with its CSR is gathered.

Everything that can be sorted is sorted once, per dataset; `gather` only copies runs and adds offsets, so that a
batch costs a few milliseconds however many graphs it holds.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from dqrun.errors import DataError
from dqrun.graphs import CSR, Graph


@dataclass(frozen=True)
class PackedGraphs:
    """G graphs with N nodes and E edges in all; int64 where nothing else is said.

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

        `edge_index_local`: int64 [2, E], row 0 the source and row 1 the target, counted from the first node of the
        edge's own graph; `node_counts`, `edge_counts`: int64 [G]; `edge_weight` float32 [E] and `edge_attr`
        (float32 [E, D] or int64 [E]) in the order of `edge_index_local`. Raises DataError for an edge to a node that
        its graph does not have, and for counts that do not add up. O(E log E + N log N), no loop over graphs.
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
        rank = degree_rank(in_degree, node_ptr)
        return cls._pack(source, target, node_ptr, in_degree, rank, edge_weight, edge_attr)

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
        """Sorts edges with dataset-wide node ids (int64 [E]) both ways and makes ids and positions local."""

        def by_target(values: Tensor | None) -> Tensor | None:
            return None if values is None else values[torch.sort(target, stable=True).indices]

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
            edge_weight=by_target(edge_weight),
            edge_attr=by_target(edge_attr),
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

        Weights: a loop has the weight of the node's last loop in the raw data, or 1 where there is none
        (`add_remaining_self_loops`, as `gcn_norm` calls it). Edge features: a loop has the mean of the features of the
        node's other edges, zeros where there are none (`GATConv`, fill_value="mean"). Categories have no mean: the
        graphs with self-loops have none.
        """
        return self._looped

    @cached_property
    def _looped(self) -> PackedGraphs:
        kept = self.col != self.row
        offset = self.node_ptr[:-1].repeat_interleave(self.edge_ptr.diff())[kept]
        loops = torch.arange(self.num_nodes, device=self.col.device)
        source, target = (torch.cat([ids[kept] + offset, loops]) for ids in (self.col, self.row))
        weight = None if self.edge_weight is None else self._loop_weights(self.edge_weight, kept)
        attr = None if self.edge_attr is None else self._loop_features(self.edge_attr, kept, target[: offset.numel()])
        return self._pack(source, target, self.node_ptr, self.in_degree, self.degree_rank, weight, attr)

    def _loop_weights(self, weight: Tensor, kept: Tensor) -> Tensor:
        """Weights of the edges that are kept (bool [E]), then of a loop per node."""
        loops, raw = weight.new_ones(self.num_nodes), (~kept).nonzero().squeeze(1)
        node = self.row[raw] + self.node_ptr[:-1].repeat_interleave(self.edge_ptr.diff())[raw]
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
        """The graphs with their weights and their edge features as far as they are wanted; itself with all of them."""
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
        graph = Graph(
            csr, self.node_ptr, batch, self.degree_rank, edge_weight=self.edge_weight, edge_attr=self.edge_attr
        )
        return graph, node_index

    def to(self, device: torch.device | str) -> PackedGraphs:
        """The same graphs on another device; itself when they are there already."""
        if self.node_ptr.device == torch.device(device):
            return self
        tensors: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        moved: dict[str, Any] = {name: None if each is None else each.to(device) for name, each in tensors.items()}
        return PackedGraphs(**moved)


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
