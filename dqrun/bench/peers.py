"""The peers of a comparison: the configured network written with PyG's own layers, as a PyG user would write it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric import EdgeIndex
from torch_geometric.nn import global_add_pool, global_max_pool, global_mean_pool
from torch_geometric.utils import to_torch_csr_tensor

from dqrun.config import ModelConfig
from dqrun.graphs import Batch, Graph
from dqrun.nn import GNN
from dqrun.nn.linear import BatchNorm

POOLING: dict[str, Callable[..., Tensor]] = {
    "sum": global_add_pool,
    "mean": global_mean_pool,
    "max": global_max_pool,
}
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"relu": F.relu, "elu": F.elu, "none": lambda x: x}


class PyGNetwork(nn.Module):
    """The architecture of `ours` in PyG's layers, with the same weights; `config`: the configuration of `ours`.

    `cached`: GCN normalises its only graph once, as in PyG's examples for node tasks. `weighted`: edges have
    weights.
    """

    def __init__(self, ours: GNN, config: ModelConfig, cached: bool = False, weighted: bool = False) -> None:
        super().__init__()
        self.config, self.readout = config, ours.readout
        self.encoder = None if ours.encoder is None else ours.encoder.to_torch()
        self.layers = nn.ModuleList(layer.to_pyg(cached, weighted) for layer in ours.message_passing)
        self.norms = (
            None if ours.norms is None else nn.ModuleList(norm.to_torch() for norm in cast(list[BatchNorm], ours.norms))
        )
        self.head = None if ours.head is None else nn.ModuleList(linear.to_torch() for linear in ours.head.linears)

    def forward(self, x: Tensor, edges: tuple[Tensor, ...], batch: Tensor, num_graphs: int) -> Tensor:
        """x float32 [N, F] or int64 [N], edges of one of `EDGE_FORMS`, batch int64 [N]; logits [N, C] or [G, C]."""
        config = self.config
        if self.encoder is not None:
            x = self.encoder(x)
        hidden = len(self.layers) - (self.readout is None)
        for i, layer in enumerate(self.layers):
            h: Tensor = F.dropout(x, config.dropout if i else config.input_dropout, self.training)
            h = layer(h, *edges)
            if i == hidden:
                return h
            if self.norms is not None:
                h = self.norms[i](h)
            h = ACTIVATIONS[config.activation](h)
            x = x + h if config.residual and x.shape == h.shape else h
        assert self.readout is not None and self.head is not None
        x = POOLING[self.readout](x, batch, size=num_graphs)
        for i, linear in enumerate(self.head):
            x = F.relu(x) if i else x
            x = F.dropout(x, config.head_dropout, self.training) if i == len(self.head) - 1 else x
            x = linear(x)
        return x


def edge_index_of(graph: Graph) -> Tensor:
    """PyG's `edge_index` [2, E], sorted by source as in PyG's datasets; without one self-loop per node.

    PyG's layers add these loops. Loops stay if edges have weights or features.
    """
    return _edges(graph)[0]


def _edges(graph: Graph) -> tuple[Tensor, ...]:
    """`edge_index_of`, then the features, else the weights, of these edges if the graph has them."""
    csr, data = graph.csr, graph.edge_weight if graph.edge_attr is None else graph.edge_attr
    edge_index = torch.stack([csr.col[csr.t_edge], csr.t_col])
    if data is not None:  # edges with data keep their loops
        return edge_index, data[csr.t_edge]
    return (edge_index[:, edge_index[0] != edge_index[1]] if _has_one_loop_each(graph) else edge_index,)


def _has_one_loop_each(graph: Graph) -> bool:
    csr = graph.csr
    return torch.equal(csr.row[csr.row == csr.col], torch.arange(graph.num_nodes, device=csr.row.device))


def adjacency(graph: Graph) -> tuple[Tensor]:
    """PyG's transposed adjacency `adj_t` as a sparse CSR tensor [N, N]: rows are targets; repeated edges become one."""
    with warnings.catch_warnings():  # torch warns once that CSR tensors are in beta
        warnings.simplefilter("ignore")
        matrix: Tensor = to_torch_csr_tensor(edge_index_of(graph).flip(0), size=(graph.num_nodes, graph.num_nodes))
    return (matrix,)


def sorted_edge_index(graph: Graph) -> tuple[Tensor, ...]:
    """PyG's `EdgeIndex`, sorted by target, with the pointers of both orders cached; then features or weights."""
    (source, target), *data = _edges(graph)
    order = torch.sort(target, stable=True).indices
    size = (graph.num_nodes, graph.num_nodes)
    edges = EdgeIndex(torch.stack([source[order], target[order]]), sparse_size=size, sort_order="col").fill_cache_()
    return edges, *(each[order] for each in data)


# Forms in which PyG's layers accept edges: their arguments after x. Which of the last two is faster depends on model,
# data and machine.
EDGE_FORMS: dict[str, Callable[[Graph], tuple[Tensor, ...]]] = {
    "edge_index": _edges,
    "adj_t": adjacency,
    "EdgeIndex": sorted_edge_index,
}


def edge_forms(graphs: Sequence[Graph]) -> tuple[list[str], dict[str, str]]:
    """The names of the forms that can represent all graphs, and the reason for each other form.

    Forms after the first are CSR. The fastest of these is the peer `pyg_fp32_csr`.
    """
    reason = next(filter(None, map(_why_no_matrix, graphs)), "")
    left_out = {"adj_t": reason} if reason else {}
    return [form for form in EDGE_FORMS if form not in left_out], left_out


def _why_no_matrix(graph: Graph) -> str:
    """The reason why `adj_t` cannot represent a graph's edges; "" if it can."""
    if graph.edge_weight is not None or graph.edge_attr is not None:
        return "it holds no weights or features of edges"
    csr = graph.csr
    places = (csr.row * graph.num_nodes + csr.col).sort().values
    return "it makes repeated edges one" if bool((places[1:] == places[:-1]).any()) else ""


def logits_of(network: PyGNetwork, batch: Batch, edges: tuple[Tensor, ...]) -> Tensor:
    """The logits of the rows `batch.index`; of all rows if it is None."""
    logits: Tensor = network(batch.x, edges, batch.graph.batch, batch.graph.num_graphs)
    return logits if batch.index is None else logits[batch.index]
