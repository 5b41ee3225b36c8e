"""Structures of graphs within `torch.compile`: an operator that is one node of a compiled graph.

To sort edges needs checks and sizes that depend on data, which would break the graph of `torch.compile`. The operator
does this when the compiled network runs, with structures that are cached for `edge_index` (`Structures`).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dqrun.errors import DataError
from dqrun.graphs import CSR, Graph
from dqrun.swap.structures import Structures

_KEPT = Structures()
"""Of all compiled networks: a compiled graph takes tensors alone."""
_SCHEMA = (
    "(Tensor edge_index, SymInt num_nodes, bool self_loops, SymInt num_edges) "
    "-> (Tensor rowptr, Tensor col, Tensor row, Tensor t_rowptr, Tensor t_col, Tensor t_edge)"
)


@torch.library.custom_op("dqrun::structure", mutates_args=(), schema=_SCHEMA)
def structure(edge_index: Any, num_nodes: int, self_loops: bool, num_edges: int) -> Any:
    """The parts of a `CSR` of num_edges edges, as int64 copies: compiled graphs overwrite tensors after their last use.

    Raises DataError for an edge_index that does not fit, and if its number of self-loops, which are replaced, is not
    that for which the network was compiled.
    """
    csr = _KEPT.graph(edge_index, num_nodes, self_loops).csr
    if csr.num_edges != num_edges:
        own, known = (edge_index.size(1) + num_nodes - count for count in (csr.num_edges, num_edges))
        rule = f"have {known} self-loops of its own, for which the network was compiled"
        more = "call the network once with it outside of torch.compile, or remove them (remove_self_loops of PyG)"
        raise DataError(f"edge_index must {rule}, got {own}: {more}")
    return tuple(part.clone() for part in csr.parts)


@structure.register_fake
def _(edge_index: Any, num_nodes: int, self_loops: bool, num_edges: int) -> Any:
    sizes = num_nodes + 1, num_edges, num_edges, num_nodes + 1, num_edges, num_edges
    return tuple(edge_index.new_empty(size) for size in sizes)


def compiled_graph(edge_index: Tensor, num_nodes: int, self_loops: bool, own_loops: int) -> Graph:
    """The graph of one call as `Structures.graph` returns it, except that degree ranks are 0: they are needed only for
    masks, which are drawn outside of compiled graphs.

    `own_loops`: number of self-loops in edge_index.
    """
    count = edge_index.size(1) + (num_nodes - own_loops if self_loops else 0)
    csr = CSR(*structure(edge_index, num_nodes, self_loops, count))
    return Graph(
        csr=csr,
        node_ptr=edge_index.new_zeros(2),
        batch=edge_index.new_zeros(num_nodes),
        degree_rank=edge_index.new_zeros(num_nodes, dtype=torch.float32),
    )
