"""The fake-quantised network in float64: what its integer program must give, code by code.

In float32 the sums of a network are rounded, so that a value very near the middle of two codes may go either way. In
float64, with the scales of training, program and network agree unless a value lies on such a tie.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dqrun.graph import Graph
from dqrun.nn import GNN
from dqrun.nn.linear import Linear
from dqrun.quant import Quantizer, named_sites

TIE = 1e-9  # of a code: nearer to the middle of two codes, float64 is no judge either


@dataclass(frozen=True)
class Simulation:
    """`codes`: stored codes (from 0) of each quantised activation site, int32. `logits`: float64. `tie`: on which site
    a value lay on a rounding tie, or ""."""

    codes: dict[str, Tensor]
    logits: Tensor
    tie: str


class Float64Quantizer(nn.Module):
    """A quantiser in float64 with the grid of training. Where the network's input or a weight is rounded, the rule of
    training (float32) holds, as it does in the program."""

    def __init__(self, quantizer: Quantizer, float32_rule: bool) -> None:
        super().__init__()
        self.grid, (self.scale, self.zero_point) = quantizer.grid, quantizer.params()
        self.float32_rule, self.tie, self.codes = float32_rule, False, torch.empty(0)

    def forward(
        self, x: Tensor, keep: Tensor | None = None, multiplicity: Tensor | None = None, relu: bool = False
    ) -> Tensor:
        scale = self.scale.double()
        codes = self.grid.encode(*((x.float(), self.scale) if self.float32_rule else (x, scale)), self.zero_point)
        place = x / scale + self.zero_point
        inside = (place > self.grid.qmin - 1) & (place < self.grid.qmax + 1)
        distance = (place - torch.floor(place) - 0.5).abs()
        self.tie = not self.float32_rule and bool((inside & (distance < TIE)).any())
        self.codes = codes - self.grid.qmin
        real = (codes - self.zero_point).double() * scale
        return real.relu() if relu else real


@torch.no_grad()
def simulate(model: GNN, x: Tensor, graph: Graph) -> Simulation:
    """Runs a copy of a trained network in float64; x: float32 [N, F] or int64 [N]."""
    model = copy.deepcopy(model).eval()
    first = "encoder.input" if isinstance(model.encoder, Linear) else "states.0"
    quantizers: dict[str, Float64Quantizer] = {}
    for name, site in named_sites(model):
        if site.quantizer is not None:
            quantizer = Float64Quantizer(site.quantizer, site.is_weight or name == first)
            site.quantizer = quantizer  # type: ignore[assignment]  # it takes and gives what a Quantizer does
            if not site.is_weight:
                quantizers[name] = quantizer
    logits = model.double()(x.double() if x.is_floating_point() else x, graph)
    tie = next((name for name, quantizer in quantizers.items() if quantizer.tie), "")
    return Simulation({name: quantizer.codes for name, quantizer in quantizers.items()}, logits, tie)
