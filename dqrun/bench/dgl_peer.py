"""The configured network with DGL's layers, if DGL is installed: often the fastest FP32 network on a CPU.

DGL 2.1.0 is the newest version that can be installed beside a recent torch: `pip install --no-deps dgl==2.1.0`. Two of
its parts, graph stores and sparse matrices, need an older torch. dqrun does not use them: it replaces them by empty
modules before it imports DGL.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import warnings
from collections.abc import Callable
from functools import cache
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.nn import GATConv, GATv2Conv, GCNConv, GINConv, SAGEConv

from dqrun.bench.peers import PyGNetwork
from dqrun.config import ModelConfig
from dqrun.graphs import Graph
from dqrun.nn import GNN

UNUSED = ("dgl.graphbolt", "dgl.sparse")


class NoDGL(Exception):
    """DGL is not installed or does not work here, or it lacks a layer of the network; the message has one line."""


@cache
def dgl() -> Any:
    """The module `dgl`; raises NoDGL if it cannot be imported."""
    if importlib.util.find_spec("dgl") is None:
        raise NoDGL("DGL is not installed (pip install --no-deps dgl==2.1.0)")
    os.environ.setdefault("DGLBACKEND", "pytorch")  # without it DGL writes a file into the user's folder
    for name in UNUSED:
        sys.modules.setdefault(name, ModuleType(name))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = importlib.import_module("dgl")
            importlib.import_module("dgl.nn.pytorch")
    except Exception as error:  # an old library beside a new torch may fail in any way
        raise NoDGL(f"DGL could not be imported: {type(error).__name__}: {error}".splitlines()[0]) from error
    return module


def dgl_graph(graph: Graph) -> tuple[Any]:
    """DGL's graph in the formats that its layers read; it keeps the self-loops of `graph`. Raises NoDGL."""
    made = dgl().graph((graph.csr.col, graph.csr.row), num_nodes=graph.num_nodes)
    return (made.formats(["csc", "csr", "coo"]),)


class DGLNetwork(PyGNetwork):
    """`PyGNetwork` with DGL's layers, for edges from `dgl_graph`. Raises NoDGL for a layer that `to_dgl` lacks."""

    def __init__(self, ours: GNN, config: ModelConfig) -> None:
        super().__init__(ours, config)
        self.layers = nn.ModuleList(to_dgl(layer) for layer in self.layers)


class GCN(nn.Module):
    """D^-1/2 A D^-1/2 X W + b by DGL's sum over edges; DGL's GraphConv uses other degrees if edges are directed."""

    def __init__(self, conv: GCNConv) -> None:
        super().__init__()
        self.linear, self.bias = nn.Linear(conv.in_channels, conv.out_channels, bias=False), conv.bias
        self.linear.load_state_dict({"weight": conv.lin.weight})

    def forward(self, x: Tensor, graph: Any) -> Tensor:
        factor = graph.in_degrees().clamp(min=1).to(x.dtype).rsqrt().unsqueeze(1)
        sums: Tensor = dgl().ops.copy_u_sum(graph, self.linear(x) * factor)
        h: Tensor = sums * factor + self.bias
        return h


class Called(nn.Module):
    """A DGL layer with the call signature of PyG's layers.

    `heads`: "concat" concatenates the heads, "mean" averages them, "" if there are none. `bias`: added to the result.
    """

    def __init__(self, conv: nn.Module, heads: str = "", bias: Tensor | None = None) -> None:
        super().__init__()
        self.conv, self.heads = conv, heads
        self.bias = None if bias is None else nn.Parameter(bias.detach().clone())

    def forward(self, x: Tensor, graph: Any) -> Tensor:
        h: Tensor = self.conv(graph, x)
        if self.heads:
            h = h.flatten(1) if self.heads == "concat" else h.mean(1)
        return h if self.bias is None else h + self.bias


def to_dgl(conv: nn.Module) -> nn.Module:
    """DGL's layer with the weights of the PyG layer `conv`; raises NoDGL for a type without a converter."""
    for kind, convert in CONVERTERS.items():
        if type(conv) is kind:
            with torch.no_grad():
                return convert(conv, dgl().nn.pytorch)
    raise NoDGL(f"DGL has no layer here for {type(conv).__name__}")


def _gin(conv: Any, layers: Any) -> nn.Module:
    made = layers.GINConv(None, "sum", init_eps=float(conv.eps), learn_eps=True)
    made.apply_func = conv.nn
    return Called(made)


def _sage(conv: Any, layers: Any) -> nn.Module:
    made = layers.SAGEConv(conv.in_channels, conv.out_channels, "mean")
    bias = made.fc_self.bias if made.fc_self.bias is not None else made.bias
    made.fc_neigh.weight.copy_(conv.lin_l.weight)
    made.fc_self.weight.copy_(conv.lin_r.weight)
    bias.copy_(conv.lin_l.bias)
    return Called(made)


def _gat(conv: Any, layers: Any) -> nn.Module:
    sizes = conv.in_channels, conv.out_channels, conv.heads
    made = layers.GATConv(*sizes, attn_drop=conv.dropout, bias=False, allow_zero_in_degree=True)
    made.fc.weight.copy_(conv.lin.weight)
    made.attn_l.copy_(conv.att_src)
    made.attn_r.copy_(conv.att_dst)
    return Called(made, "concat" if conv.concat else "mean", conv.bias)


def _gatv2(conv: Any, layers: Any) -> nn.Module:
    sizes = conv.in_channels, conv.out_channels, conv.heads
    made = layers.GATv2Conv(*sizes, attn_drop=conv.dropout, allow_zero_in_degree=True, share_weights=conv.share_weights)
    for target, source in ((made.fc_src, conv.lin_l), (made.fc_dst, conv.lin_r)):
        target.weight.copy_(source.weight)
        target.bias.copy_(source.bias)
    made.attn.copy_(conv.att)
    return Called(made, "concat" if conv.concat else "mean", conv.bias)


CONVERTERS: dict[type, Callable[[Any, Any], nn.Module]] = {
    GCNConv: lambda conv, layers: GCN(conv),
    GINConv: _gin,
    SAGEConv: _sage,
    GATConv: _gat,
    GATv2Conv: _gatv2,
}


def reads_plain_edges(graph: Graph) -> bool:
    """Whether edges have neither weights nor features; the layers of this module read neither."""
    return graph.edge_weight is None and graph.edge_attr is None
