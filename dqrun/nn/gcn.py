"""Graph convolution (Kipf & Welling, ICLR 2017)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dqrun import kernels
from dqrun.graphs import Graph, Rows
from dqrun.nn.propagate import propagate
from dqrun.quant import Site, Sites


class GCNLayer(nn.Module):
    """X' = D^-1/2 A D^-1/2 X W + b over a graph whose edges hold one self-loop per node (Kipf & Welling, eq. 2).

    Where a plan quantises per edge (`edge_weight`, `message`), messages are Q(Q(d_i^-1/2 d_j^-1/2) Q(XW)_j), as in
    Degree-Quant's code. Otherwise the two factors are applied to nodes, before and after a plain sum, which needs no
    number per edge and is what an integer program does; `features` is then the scaled tensor that edges gather, and its
    range counts each row as often as they do.
    """

    uses_self_loops = True
    gathers_input = False  # but its product with the weight

    def __init__(
        self, in_channels: int, out_channels: int, dropout: float = 0.0, nonnegative_input: bool = False
    ) -> None:
        super().__init__()
        self.dropout = dropout
        self.weight = nn.Parameter(torch.empty(in_channels, out_channels))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        nn.init.xavier_uniform_(self.weight)
        self.sites = Sites(
            input=Site(nonnegative=nonnegative_input),
            weight=Site(is_weight=True),
            features=Site(),
            edge_weight=Site(nonnegative=True),
            message=Site(),
            aggregate=Site(),
            output=Site(),
        )

    def forward(self, x: Rows, graph: Graph, relu: bool = False) -> Tensor:
        """float32 [N, in] -> [N, out]; `relu`: a ReLU follows."""
        sites, csr, protected = self.sites, graph.csr, graph.protected
        x = kernels.dropout(sites.input(x, protected), self.dropout, self.training)
        h = kernels.linear(x, sites.weight(self.weight).t())
        if sites.edge_weight.idle and sites.message.idle:
            d = csr.inverse_sqrt_degree.unsqueeze(-1)
            a = d * kernels.spmm(csr, sites.features(d * h, protected, csr.out_degree))
        else:
            h = sites.features(h, protected)
            a = propagate(csr, h, sites.edge_weight(csr.symmetric_weight), sites.message, protected)
        return sites.output(sites.aggregate(a, protected) + self.bias, protected, relu=relu)
