"""The fake-quantised network in float64: its integer program must give the same codes.

In float32 the sums of a network are rounded, so that a value very near the middle of two codes may be rounded to
either. In float64, with the scales of training, program and network agree unless a value lies on such a tie. A batch
norm is, as in a program, a float32 factor and offset per channel.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dqrun.graphs import Graph
from dqrun.integer.batch_norm import affine
from dqrun.integer.sites import row_grid
from dqrun.kernels.integer import RowGrid, quantize
from dqrun.nn import GNN
from dqrun.nn.linear import BatchNorm, Linear
from dqrun.nn.lowering import Into, Lowering, Rows, Value
from dqrun.quant import Quantizer, Scales, named_sites

TIE = 1e-9  # in steps of the grid: nearer to the middle of two codes, float64 does not decide reliably either
BLOCK = 1 << 15  # elements rounded at a time: they stay in the cache from one step to the next


@dataclass(frozen=True)
class Simulation:
    """`codes`: stored codes (from 0) of each quantised activation site, int32. `logits`: float64. `tie`: a site at
    which a value was on a rounding tie, or ""."""

    codes: dict[str, Tensor]
    logits: Tensor
    tie: str


class Float64RowQuantizer(nn.Module):
    """A quantiser with a range for each row. Numbers are rounded to float32 and then encoded as in training and in the
    program; decoded values are float64.

    `watched`: keep the codes of the last call.
    """

    tie = False

    def __init__(self, grid: RowGrid, watched: bool) -> None:
        super().__init__()
        self.grid, self.watched, self.codes = grid, watched, torch.empty(0)

    def forward(
        self, x: Tensor, protected: Tensor | None = None, multiplicity: Tensor | None = None, relu: bool = False
    ) -> Tensor:
        codes = quantize(x.float(), self.grid)
        if self.watched:
            self.codes = codes.unpack().int()
        real = codes.real()
        return real.relu_() if relu else real


class Float64Quantizer(nn.Module):
    """A quantiser of an activation in float64 with the grid of training. `float32_rule`: it rounds in float32 as in
    training, which the program does for the network's input.

    `watched`: keep the codes of the last call, and whether a value was on a tie.
    """

    def __init__(self, quantizer: Quantizer, float32_rule: bool, watched: bool) -> None:
        super().__init__()
        self.spec, self.scales = quantizer.spec, quantizer.fixed_scales()
        self.float32_rule, self.watched = float32_rule, watched
        self.tie, self.codes = False, torch.empty(0)

    def forward(
        self, x: Tensor, protected: Tensor | None = None, multiplicity: Tensor | None = None, relu: bool = False
    ) -> Tensor:
        if self.watched:
            self.watch(x)
        real = torch.empty(x.shape, dtype=torch.float64)
        rows = x.size(0) if self.scales.scale.dim() else BLOCK // max(1, x[:1].numel())
        rows = max(1, rows)
        for source, target in zip(torch.split(x, rows), torch.split(real, rows), strict=True):
            self.round(source, target)
        return real.relu_() if relu else real

    def round(self, x: Tensor, out: Tensor) -> None:
        """Writes x rounded to the grid to `out`, float64 of the same shape."""
        scale, zero_point, _ = self.scales
        if self.float32_rule:
            out.copy_(self.spec.encode(x.float(), self.scales))
        else:
            torch.mul(x, 1.0 / scale.double(), out=out)
            out.round_().add_(zero_point).clamp_(self.spec.qmin, self.spec.qmax)
        out.sub_(zero_point).mul_(scale.double())

    def watch(self, x: Tensor) -> None:
        scale, zero_point, _ = self.scales
        scale = scale if self.float32_rule else scale.double()
        self.codes = self.spec.encode(x.to(scale.dtype), Scales(scale, zero_point)) - self.spec.qmin
        place = x / scale + zero_point
        inside = (place > self.spec.qmin - 1) & (place < self.spec.qmax + 1)
        distance = (place - torch.floor(place) - 0.5).abs()
        self.tie = not self.float32_rule and bool((inside & (distance < TIE)).any())


class RoundedWeight(nn.Module):
    """The quantiser of a weight: the codes that training (float32) gives it, times its scales in float64."""

    def __init__(self, quantizer: Quantizer) -> None:
        super().__init__()
        self.encode = (quantizer.encode,)  # in a tuple: else it would be a submodule, and become float64
        self.spec = quantizer.spec

    def forward(self, weight: Tensor, *unused: object) -> Tensor:
        """float64 of the weight's shape; a weight is never protected."""
        codes, (scale, zero_point, _) = self.encode[0](weight.float())
        return self.spec.decode(codes, Scales(scale.double(), zero_point))


class Affine(nn.Module):
    """x * factor + offset per channel, a batch norm as in a program; both float32 [C]."""

    def __init__(self, factor: Tensor, offset: Tensor) -> None:
        super().__init__()
        self.factor, self.offset = nn.Parameter(factor, False), nn.Parameter(offset, False)

    def forward(self, x: Tensor) -> Tensor:
        """float64 [N, C] to the same."""
        return x * self.factor + self.offset


@torch.no_grad()
def in_float64(model: GNN, watched: bool = False) -> GNN:
    """A copy of a trained network that computes in float64; its input x is float64 [N, F], or int64 [N].

    `watched`: its quantisers keep their codes, which takes several times as long.
    """
    model = copy.deepcopy(model).cpu().eval().requires_grad_(False)
    first = "encoder.input" if isinstance(model.encoder, Linear) else "states.0"
    for name, site in named_sites(model):
        if site.quantizer is not None:
            found = judging(name, site.quantizer, site.is_weight, name == first, watched)
            site.quantizer = found  # type: ignore[assignment]  # it takes and gives what a Quantizer does
    model.lower(NormFolding())
    return model.double()


def judging(name: str, quantizer: Quantizer, is_weight: bool, float32_rule: bool, watched: bool) -> nn.Module:
    """The quantiser of a site in float64."""
    if is_weight:
        return RoundedWeight(quantizer)
    if quantizer.spec.granularity.per_row:
        return Float64RowQuantizer(row_grid(name, quantizer), watched)
    return Float64Quantizer(quantizer, float32_rule, watched)


class NormFolding(Lowering):
    """Replaces the batch norms of a copy by factor and offset, as in a program; see `batch_norm.affine`."""

    def result(self, into: Into, channels: int, rows: Rows = "node") -> Value:
        if norms := [norm for norm in (into.inner, into.norm) if norm is not None]:
            self.fold(norms, into)
        return super().result(into, channels, rows)

    def fold(self, norms: list[BatchNorm], into: Into) -> None:
        bias = None if into.inner is not None else into.bias  # a ReLU is between a bias and an inner norm
        whole = Affine(*affine(norms, bias))
        if bias is not None:
            bias.zero_()
        for norm, place in zip(norms, (whole, nn.Identity()), strict=False):
            norm.norm = place  # type: ignore[assignment]  # called like a batch norm


@torch.no_grad()
def simulate(model: GNN, x: Tensor, graph: Graph) -> Simulation:
    """Runs a copy of a trained network in float64 and keeps its codes; x: float32 [N, F] or int64 [N]."""
    copied = in_float64(model, watched=True)
    logits = copied(x.double() if x.is_floating_point() else x, graph)
    quantizers: dict[str, nn.Module | None] = {
        n: site.quantizer for n, site in named_sites(copied) if not site.is_weight
    }
    kinds = Float64Quantizer, Float64RowQuantizer
    watched = {name: found for name, found in quantizers.items() if isinstance(found, kinds)}
    tie = next((name for name, quantizer in watched.items() if quantizer.tie), "")
    return Simulation({name: quantizer.codes for name, quantizer in watched.items()}, logits, tie)
