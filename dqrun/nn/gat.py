"""Graph attention (Velickovic et al., ICLR 2018)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dqrun import kernels
from dqrun.graphs import Graph, Rows
from dqrun.nn.propagate import propagate
from dqrun.quant import Site, Sites

NEGATIVE_SLOPE = 0.2


class GATLayer(nn.Module):
    """x'_i = sum_j alpha_ij W x_j + b, alpha_ij = softmax_j(LeakyReLU(a_s . W x_j + a_t . W x_i)) (eq. 1 to 4).

    Runs over a graph whose edges hold one self-loop per node. The `heads` outputs are concatenated, or averaged with
    `concat=False`. Sites `logit` (before LeakyReLU) and `coefficient` (after the softmax) are per edge; Degree-Quant
    leaves the latter exact. An edge takes the protection of its source.
    """

    uses_self_loops = True
    gathers_input = False  # but its product with the weight

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        heads: int = 1,
        concat: bool = True,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        nonnegative_input: bool = False,
    ) -> None:
        """`out_channels`: of each head."""
        super().__init__()
        self.heads, self.out_channels, self.concat = heads, out_channels, concat
        self.dropout, self.attention_dropout = dropout, attention_dropout
        self.weight = nn.Parameter(torch.empty(in_channels, heads * out_channels))
        self.attention = nn.Parameter(torch.empty(2, heads, out_channels))  # of the source, of the target
        self.bias = nn.Parameter(torch.zeros(heads * out_channels if concat else out_channels))
        nn.init.xavier_uniform_(self.weight)
        bound = (6 / (heads + out_channels)) ** 0.5  # PyG's glorot of a [1, heads, channels] tensor
        nn.init.uniform_(self.attention, -bound, bound)
        self.sites = Sites(
            input=Site(nonnegative=nonnegative_input),
            weight=Site(is_weight=True),
            attention=Site(is_weight=True),
            features=Site(),
            logit=Site(),
            coefficient=Site(nonnegative=True),
            message=Site(),
            aggregate=Site(),
            output=Site(),
        )

    def forward(self, x: Rows, graph: Graph, relu: bool = False) -> Tensor:
        """float32 [N, in] -> [N, heads * out], or [N, out] when averaged; `relu`: a ReLU follows."""
        sites, csr, protected = self.sites, graph.csr, graph.protected
        x = kernels.dropout(sites.input(x, protected), self.dropout, self.training)
        h = sites.features(kernels.linear(x, sites.weight(self.weight).t()), protected).view(
            -1, self.heads, self.out_channels
        )
        source, target = torch.einsum("nhc,shc->snh", h, sites.attention(self.attention))
        protected_edges = None if protected is None or sites.logit.is_fp32 else protected[csr.col]
        logit = sites.logit(kernels.edge_add(csr, source, target), protected_edges)
        alpha = sites.coefficient(kernels.edge_softmax(csr, F.leaky_relu(logit, NEGATIVE_SLOPE)))
        alpha = kernels.dropout(alpha, self.attention_dropout, self.training)
        a = sites.aggregate(propagate(csr, h, alpha, sites.message, protected), protected)
        a = a.flatten(1) if self.concat else a.mean(1)
        return sites.output(a + self.bias, protected, relu=relu)
