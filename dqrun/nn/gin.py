"""Graph isomorphism network (Xu et al., ICLR 2019)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dqrun import kernels
from dqrun.graphs import Graph, Rows
from dqrun.nn.linear import MLP
from dqrun.nn.propagate import propagate
from dqrun.quant import Site, Sites


class GINLayer(nn.Module):
    """x'_i = MLP((1 + eps) x_i + sum_j x_j), eps learned (eq. 4.1), over the edges as they are.

    Messages are copies of node rows, so the `message` site quantises the node tensor, its range counting each row as
    often as edges leave it; only noise, which differs between copies, quantises each. `input` is what both terms share;
    a plan that quantises it needs no `message`.
    """

    uses_self_loops = False
    gathers_input = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        hidden_channels: int,
        mlp_layers: int = 2,
        norm: bool = False,
        dropout: float = 0.0,
        nonnegative_input: bool = False,
    ) -> None:
        """`norm`: a ReLU and a batch norm as the last operations of the MLP."""
        super().__init__()
        self.dropout = dropout
        self.eps = nn.Parameter(torch.zeros(1))
        self.mlp = MLP([in_channels, *[hidden_channels] * (mlp_layers - 1), out_channels], norm)
        self.sites = Sites(
            input=Site(nonnegative=nonnegative_input),
            message=Site(nonnegative=nonnegative_input),
            aggregate=Site(nonnegative=nonnegative_input),
            output=Site(),
        )

    def forward(self, x: Rows, graph: Graph, relu: bool = False) -> Tensor:
        """float32 [N, in] -> [N, out]; `relu`: a ReLU follows."""
        sites, csr, protected = self.sites, graph.csr, graph.protected
        x = kernels.dropout(sites.input(kernels.summable(csr, x), protected), self.dropout, self.training)
        if sites.message.idle and sites.aggregate.idle:
            h = kernels.spmm_self(csr, x, 1 + self.eps)
        else:
            a = sites.aggregate(propagate(csr, x, None, sites.message, protected), protected)
            h = kernels.add_self(csr, a, x, 1 + self.eps)
        return sites.output(self.mlp(h, protected), protected, relu=relu)
