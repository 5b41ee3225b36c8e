"""Converts PyG's `edge_index`, `batch`, `edge_weight` and `edge_attr` to a `Graph`."""

from __future__ import annotations

import torch
from torch import Tensor

from dqrun.errors import DataError
from dqrun.graphs.csr import CSR
from dqrun.graphs.graph import Graph


def build_graph(
    edge_index: Tensor,
    num_nodes: int,
    batch: Tensor | None,
    self_loops: bool,
    edge_weight: Tensor | None = None,
    edge_attr: Tensor | None = None,
) -> Graph:
    """Checks and orders edges (int64 [2, E], row 0 the source) of nodes 0..num_nodes - 1.

    batch: int64 [N], ids 0..G-1 in ascending order without gaps, or None: one graph. `self_loops`: loops of the input
    are replaced by one per node, as PyG's `gcn_norm` and `GATConv` do. edge_weight: float32 [E]; a loop keeps its
    weight, a new one gets 1. edge_attr: float32 [E, D] or int64 [E] categories; a loop gets the mean over the other
    edges of its node. Raises DataError for tensors that do not fit. Ranks of degrees are all 1.
    """
    check_edges(edge_index, num_nodes)
    for name, values in (("edge_weight", edge_weight), ("edge_attr", edge_attr)):
        if values is not None and values.shape[:1] != edge_index.shape[1:]:
            raise DataError(f"{name} must have a row for each of {edge_index.size(1)} edges, got {list(values.shape)}")
    if self_loops:
        edge_index, edge_weight, edge_attr = with_self_loops(edge_index, num_nodes, edge_weight, edge_attr)
    if batch is None:
        batch, node_ptr = edge_index.new_zeros(num_nodes), edge_index.new_tensor([0, num_nodes])
    else:
        node_ptr = graph_pointer(batch, num_nodes)
    return make_graph(edge_index, node_ptr, batch, edge_weight, edge_attr)


def make_graph(
    edge_index: Tensor, node_ptr: Tensor, batch: Tensor, edge_weight: Tensor | None, edge_attr: Tensor | None
) -> Graph:
    """The graph of checked edges; edge weights and features are sorted like `csr.col`."""
    order = None if edge_weight is None and edge_attr is None else torch.sort(edge_index[1], stable=True).indices
    return Graph(
        csr=CSR.from_edge_index(edge_index, batch.numel()),
        node_ptr=node_ptr,
        batch=batch,
        degree_rank=torch.ones(batch.numel(), device=edge_index.device),
        edge_weight=None if edge_weight is None else edge_weight[order],
        edge_attr=None if edge_attr is None else edge_attr[order],
    )


def check_edges(edge_index: Tensor, num_nodes: int) -> None:
    """Raises DataError unless edge_index is int64 [2, E] and names nodes in 0..num_nodes - 1."""
    if edge_index.dtype != torch.int64 or edge_index.dim() != 2 or edge_index.size(0) != 2:
        raise DataError(f"edge_index must be int64 [2, E], got {edge_index.dtype} {list(edge_index.shape)}")
    if edge_index.numel() and not 0 <= int(edge_index.min()) <= int(edge_index.max()) < num_nodes:
        got = f"{int(edge_index.min())}..{int(edge_index.max())}"
        raise DataError(f"edge_index must name nodes in 0..{num_nodes - 1}, got {got}")


def with_self_loops(
    edge_index: Tensor,
    num_nodes: int,
    edge_weight: Tensor | None = None,
    edge_attr: Tensor | None = None,
    loop_weight: float = 1.0,
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Edges with one self-loop per node, at the end, and their weights and features; see `build_graph`.

    Categories have no mean, so that the result has none. `loop_weight`: weight of a new loop.
    """
    kept = edge_index[0] != edge_index[1]
    nodes = torch.arange(num_nodes, device=edge_index.device)
    edges = torch.cat([edge_index[:, kept], nodes.expand(2, num_nodes)], 1)
    if edge_weight is not None:
        loops = edge_weight.new_full((num_nodes,), loop_weight)
        raw = (~kept).nonzero().squeeze(1)
        last = edge_index.new_full((num_nodes,), -1).scatter_reduce(0, edge_index[0, raw], raw, "amax")
        loops = torch.where(last >= 0, edge_weight[last.clamp(min=0)], loops) if raw.numel() else loops
        edge_weight = torch.cat([edge_weight[kept], loops])
    if edge_attr is not None and edge_attr.is_floating_point():
        others, target = edge_attr[kept], edge_index[1, kept]
        sums = edge_attr.new_zeros(num_nodes, edge_attr.size(1)).index_add(0, target, others)
        counts = torch.bincount(target, minlength=num_nodes).clamp(min=1)
        edge_attr = torch.cat([others, sums / counts.unsqueeze(1)])
    elif edge_attr is not None:
        edge_attr = None
    return edges, edge_weight, edge_attr


def graph_pointer(batch: Tensor, num_nodes: int) -> Tensor:
    """First node of each graph, int64 [G + 1]; raises DataError unless batch holds 0..G-1, ascending, without gaps."""
    if batch.dtype != torch.int64 or batch.shape != (num_nodes,):
        raise DataError(f"batch must be int64 [{num_nodes}], got {batch.dtype} {list(batch.shape)}")
    steps = torch.diff(batch, prepend=batch.new_full((1,), -1))  # 1 for the first node, whose graph must be 0
    wrong = (steps < 0) | (steps > 1)
    wrong[:1] = steps[:1] != 1
    if bool(wrong.any()):
        place = int(wrong.nonzero()[0])
        got = f"{int(batch[place])} after {int(batch[place - 1])}" if place else f"{int(batch[0])} first"
        raise DataError(f"batch must hold 0..G-1 in ascending order without gaps, got {got}")
    return torch.cat([torch.nonzero(steps).flatten(), steps.new_tensor([num_nodes])])
