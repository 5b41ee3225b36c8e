"""From PyG's `edge_index` and `batch` to the `Graph` that a program runs over."""

from __future__ import annotations

import torch
from torch import Tensor

from dqrun.errors import DataError
from dqrun.graphs import CSR, Graph


def build_graph(edge_index: Tensor, num_nodes: int, batch: Tensor | None, self_loops: bool) -> Graph:
    """Checks and orders edges (int64 [2, E], row 0 the source) of nodes 0..num_nodes - 1.

    batch: int64 [N], ids 0..G-1 in ascending order without gaps, or None: one graph. `self_loops`: loops of the input
    are replaced by one per node, as PyG's `gcn_norm` and `GATConv` do. Raises DataError for tensors that do not fit.
    """
    require_dense("edge_index", edge_index)
    if edge_index.dtype != torch.int64 or edge_index.dim() != 2 or edge_index.size(0) != 2:
        raise DataError(f"edge_index must be int64 [2, E], got {edge_index.dtype} {list(edge_index.shape)}")
    if edge_index.numel() and not 0 <= int(edge_index.min()) <= int(edge_index.max()) < num_nodes:
        got = f"{int(edge_index.min())}..{int(edge_index.max())}"
        raise DataError(f"edge_index must name nodes in 0..{num_nodes - 1}, got {got}")
    if self_loops:
        loops = torch.arange(num_nodes).expand(2, num_nodes)
        edge_index = torch.cat([edge_index[:, edge_index[0] != edge_index[1]], loops], 1)
    if batch is None:
        batch, node_ptr = torch.zeros(num_nodes, dtype=torch.int64), torch.tensor([0, num_nodes])
    else:
        node_ptr = graph_pointer(batch, num_nodes)
    return Graph(CSR.from_edge_index(edge_index, num_nodes), node_ptr, batch, torch.ones(num_nodes))


def graph_pointer(batch: Tensor, num_nodes: int) -> Tensor:
    """First node of each graph, int64 [G + 1]; raises DataError unless batch holds 0..G-1, ascending, without gaps."""
    require_dense("batch", batch)
    if batch.dtype != torch.int64 or batch.shape != (num_nodes,):
        raise DataError(f"batch must be int64 [{num_nodes}], got {batch.dtype} {list(batch.shape)}")
    steps = torch.diff(batch, prepend=batch.new_full((1,), -1))  # of the first node 1: its graph is 0
    wrong = (steps < 0) | (steps > 1)
    wrong[:1] = steps[:1] != 1
    if bool(wrong.any()):
        place = int(wrong.nonzero()[0])
        got = f"{int(batch[place])} after {int(batch[place - 1])}" if place else f"{int(batch[0])} first"
        raise DataError(f"batch must hold 0..G-1 in ascending order without gaps, got {got}")
    return torch.cat([torch.nonzero(steps).flatten(), torch.tensor([num_nodes])])


def require_dense(name: str, tensor: Tensor) -> None:
    """Raises DataError unless an argument is a dense tensor on the CPU, which kernels read as it lies."""
    if not isinstance(tensor, Tensor):
        raise DataError(f"{name} must be a dense tensor on the CPU, got {type(tensor).__name__}")
    if tensor.layout != torch.strided or tensor.device.type != "cpu":
        got = str(tensor.layout if tensor.device.type == "cpu" else tensor.device)
        raise DataError(f"{name} must be a dense tensor on the CPU, got {got}")
