"""From PyG's `edge_index` and `batch` to the `Graph` that a program runs over."""

from __future__ import annotations

import torch
from torch import Tensor

from dqrun.errors import DataError
from dqrun.graph import CSR, Graph


def build_graph(edge_index: Tensor, num_nodes: int, batch: Tensor | None, self_loops: bool) -> Graph:
    """Checks and orders edges (int64 [2, E], row 0 the source) of nodes 0..num_nodes - 1.

    batch: int64 [N], ascending, or None: one graph. `self_loops`: loops of the input are replaced by one per node, as
    PyG's `gcn_norm` and `GATConv` do. Raises DataError for tensors that do not fit.
    """
    if edge_index.dtype != torch.int64 or edge_index.dim() != 2 or edge_index.size(0) != 2:
        raise DataError(f"edge_index must be int64 [2, E], got {edge_index.dtype} {list(edge_index.shape)}")
    if edge_index.numel() and not 0 <= int(edge_index.min()) <= int(edge_index.max()) < num_nodes:
        got = f"{int(edge_index.min())}..{int(edge_index.max())}"
        raise DataError(f"edge_index must name nodes in 0..{num_nodes - 1}, got {got}")
    if self_loops:
        loops = torch.arange(num_nodes).expand(2, num_nodes)
        edge_index = torch.cat([edge_index[:, edge_index[0] != edge_index[1]], loops], 1)
    graph_of = torch.zeros(num_nodes, dtype=torch.int64) if batch is None else batch
    node_ptr = graph_pointer(graph_of, num_nodes, batch is None)
    return Graph(CSR.from_edge_index(edge_index, num_nodes), node_ptr, graph_of, torch.ones(num_nodes))


def graph_pointer(batch: Tensor, num_nodes: int, single: bool) -> Tensor:
    """First node of each graph, int64 [G + 1]; an empty batch vector of a single graph still means one graph."""
    if batch.dtype != torch.int64 or batch.shape != (num_nodes,):
        raise DataError(f"batch must be int64 [{num_nodes}], got {batch.dtype} {list(batch.shape)}")
    if bool((batch.diff() < 0).any()) or (num_nodes and int(batch[0]) < 0):
        raise DataError("batch must be ascending from 0: the nodes of a graph follow one another")
    counts = torch.bincount(batch, minlength=1 if single else 0)
    return torch.cat([counts.new_zeros(1), counts.cumsum(0)])
