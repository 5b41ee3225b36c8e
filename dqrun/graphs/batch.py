"""`Batch`: a graph with features and targets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from dqrun.graphs.graph import Graph
from dqrun.graphs.sparse_rows import Rows


@dataclass(frozen=True)
class Batch:
    """A graph with its features and targets.

    `x`: float32 [N, F], as a tensor or sparse, or int64 [N] when features are categories. `y`: int64 or float32, [G]
    for graph tasks, [N] for node tasks; labels float32 [G, L] or [N, L], nan where unknown. `index`: int64 rows of the
    logits that count (node tasks: the split's nodes), or None: all.

    `gather`: None, or a function from node ids to rows of features: the graph is then evaluated in blocks of `block`
    nodes, and `x` has no rows.
    """

    graph: Graph
    x: Rows
    y: Tensor
    index: Tensor | None = None
    gather: Callable[[Tensor], Tensor] | None = None
    block: int = 0
