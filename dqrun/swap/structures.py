"""Sorted edges, cached as long as a user's network gets the same `edge_index`."""

from __future__ import annotations

import weakref
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dqrun.data.packed import degree_rank
from dqrun.errors import DataError
from dqrun.graphs import Graph
from dqrun.graphs.pyg import check_edges, make_graph, with_self_loops

MOST = 8
"""Structures that are kept at a time."""


@dataclass(frozen=True)
class _Known:
    """A structure and the `edge_index` from which it was made: valid for this object while it is unchanged."""

    edge_index: weakref.ref[Tensor]
    changes: int
    num_nodes: int
    self_loops: bool
    graph: Graph

    def fits(self, edge_index: Tensor, num_nodes: int, self_loops: bool) -> bool:
        """Whether the structure is valid for these arguments."""
        same = self.edge_index() is edge_index and self.changes == edge_index._version
        return same and (self.num_nodes, self.self_loops) == (num_nodes, self_loops)


class Structures:
    """A cache of graphs by the `edge_index` from which they were made.

    A tensor is recognised by its identity and torch's counter of in-place changes. A copy of this object is empty.
    """

    def __init__(self) -> None:
        self._known: list[_Known] = []
        self.own_loops: int | None = 0
        """Self-loops in every edge_index so far, which are replaced; None: their numbers differ."""
        self._seen = False

    def __deepcopy__(self, memo: dict[int, object]) -> Structures:
        return Structures()

    def __reduce__(self) -> tuple[type[Structures], tuple[()]]:
        return Structures, ()

    def graph(self, edge_index: Tensor, num_nodes: int, self_loops: bool) -> Graph:
        """The graph of PyG's edge_index (int64 [2, E]), without edge data; `degree_rank`: within all of its nodes.

        Raises DataError for any other value.
        """
        for known in self._known:
            if known.fits(edge_index, num_nodes, self_loops):
                return known.graph
        graph = build(edge_index, num_nodes, self_loops)
        if self_loops:
            self._count_loops(edge_index.size(1) + num_nodes - graph.csr.num_edges)
        if not edge_index.is_inference():  # torch does not count in-place changes of inference tensors
            found = _Known(weakref.ref(edge_index), edge_index._version, num_nodes, self_loops, graph)
            alive = [known for known in self._known if known.edge_index() is not None]
            self._known = [*alive[-(MOST - 1) :], found]
        return graph

    def _count_loops(self, loops: int) -> None:
        self.own_loops = loops if not self._seen or self.own_loops == loops else None
        self._seen = True


def build(
    edge_index: Tensor,
    num_nodes: int,
    self_loops: bool,
    weight: Tensor | None = None,
    attr: Tensor | None = None,
    loop_weight: float = 1.0,
) -> Graph:
    """The graph of PyG's tensors, with edge_weight (float32 [E]) and edge_attr (float32 [E, D]) where given.

    `degree_rank`: within all of its nodes. `loop_weight`: of a self-loop that is added to edges with weights.
    Raises DataError for tensors that do not fit.
    """
    require_edge_index(edge_index)
    edges = edge_index.as_subclass(Tensor)  # PyG's EdgeIndex is a tensor with methods of its own
    check_edges(edges, num_nodes)
    for name, values in (("edge_weight", weight), ("edge_attr", attr)):
        if values is not None and values.shape[:1] != edges.shape[1:]:
            raise DataError(f"{name} must have a row for each of {edges.size(1)} edges, got {list(values.shape)}")
    if weight is not None and weight.dim() != 1:
        raise DataError(f"edge_weight must be one number for each edge, [{edges.size(1)}], got {list(weight.shape)}")
    ends = edges.new_tensor([0, num_nodes])
    rank = degree_rank(in_degree(edges, num_nodes), ends)
    if self_loops:
        edges, weight, attr = with_self_loops(edges, num_nodes, weight, attr, loop_weight)
    return replace(make_graph(edges, ends, edges.new_zeros(num_nodes), weight, attr), degree_rank=rank)


def require_edge_index(edge_index: object) -> None:
    """Raises DataError for a sparse matrix, PyG's other form of edges."""
    if not isinstance(edge_index, Tensor) or edge_index.layout != torch.strided:
        got = edge_index.layout if isinstance(edge_index, Tensor) else type(edge_index).__name__
        raise DataError(f"edge_index must be a dense tensor int64 [2, E], got {got}: pass data.edge_index, not adj_t")


def in_degree(edge_index: Tensor, num_nodes: int) -> Tensor:
    """Edges that enter each node, self-loops not counted, int64 [N]."""
    source, target = edge_index
    return torch.bincount(target[source != target], minlength=num_nodes)


def rank_within(edge_index: Tensor, batch: Tensor) -> Tensor:
    """`degree_rank` within each graph of a batch (int64 [N], in any order), float32 [N]."""
    degree = in_degree(edge_index.as_subclass(Tensor), batch.numel())
    order = torch.sort(batch, stable=True).indices
    sizes = torch.bincount(batch)
    ptr = torch.cat([sizes.new_zeros(1), sizes.cumsum(0)])
    return torch.empty_like(degree, dtype=torch.float32).index_copy(0, order, degree_rank(degree[order], ptr))
