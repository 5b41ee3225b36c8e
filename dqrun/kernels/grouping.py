"""Groups the edges of one graph by target; needs memory for the result and a pointer only, for graphs of any size."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

Grouped = tuple[Tensor, Tensor, Tensor | None]
"""Pointer int64 [N + 1], sources [E], and the positions that the edges had before, int64 [E] (None: not asked for)."""


def index_type(num_nodes: int) -> torch.dtype:
    """int32 if it holds all ids of nodes, else int64."""
    return torch.int32 if num_nodes <= torch.iinfo(torch.int32).max else torch.int64


def group_by_target(edge_index: Tensor, num_nodes: int, with_places: bool) -> Grouped:
    """Groups edges (int32 or int64 [2, E], row 0 the source) in their order; ids must be below num_nodes."""
    from dqrun.kernels.cpu import grouping

    narrow = edge_index.to(index_type(num_nodes)).contiguous().numpy()
    return _tensors(*grouping.group(narrow[0], narrow[1], num_nodes, with_places))


def with_loops(pointer: Tensor, col: Tensor, with_places: bool) -> Grouped:
    """The same edges without self-loops, and one self-loop of each node after its other edges.

    The position of a loop is that of the node's last loop in the given edges, or -1.
    """
    from dqrun.kernels.cpu import grouping

    return _tensors(*grouping.loop(pointer.numpy(), col.numpy(), with_places))


def _tensors(pointer: np.ndarray, col: np.ndarray, places: np.ndarray) -> Grouped:
    given = torch.from_numpy(places) if places.size or not col.size else None
    return torch.from_numpy(pointer), torch.from_numpy(col), given
