"""Converts PyG's `edge_index` and `batch` to the `Graph` that a program runs over."""

from __future__ import annotations

import torch
from torch import Tensor

from dqrun.errors import DataError
from dqrun.graphs import Graph, pyg


def build_graph(
    edge_index: Tensor,
    num_nodes: int,
    batch: Tensor | None,
    self_loops: bool,
    edge_weight: Tensor | None = None,
) -> Graph:
    """See `dqrun.graphs.pyg.build_graph`; raises DataError also for tensors that are not dense and on the CPU."""
    require_dense("edge_index", edge_index)
    if batch is not None:
        require_dense("batch", batch)
    if edge_weight is not None:
        check_weights(edge_weight)
    return pyg.build_graph(edge_index, num_nodes, batch, self_loops, edge_weight)


def check_weights(edge_weight: Tensor) -> None:
    """Raises DataError unless weights are float32 [E], finite and not negative."""
    require_dense("edge_weight", edge_weight)
    if edge_weight.dtype != torch.float32 or edge_weight.dim() != 1:
        raise DataError(f"edge_weight must be float32 [E], got {edge_weight.dtype} {list(edge_weight.shape)}")
    wrong = ~(edge_weight.isfinite() & (edge_weight >= 0))
    if bool(wrong.any()):
        raise DataError(f"edge_weight must be finite and >= 0, got {edge_weight[wrong][0].item()}")


def require_dense(name: str, tensor: Tensor) -> None:
    """Raises DataError unless an argument is a dense tensor on the CPU, because kernels read its memory directly."""
    if not isinstance(tensor, Tensor):
        raise DataError(f"{name} must be a dense tensor on the CPU, got {type(tensor).__name__}")
    if tensor.layout != torch.strided or tensor.device.type != "cpu":
        got = str(tensor.layout if tensor.device.type == "cpu" else tensor.device)
        raise DataError(f"{name} must be a dense tensor on the CPU, got {got}")
