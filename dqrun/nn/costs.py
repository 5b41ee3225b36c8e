"""Costs of a network: model size, mean width and bit-operations, counted from its list of operations.

These are the operations of its integer program, if it has one (`nn.lowering`). `kernels.work` gives the cost of each,
for programs too, so that a network and its program have equal costs. A site in FP32 has width 32.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dqrun.graphs import Batch
from dqrun.kernels import work
from dqrun.kernels.work import FP32, Total, Work
from dqrun.nn.lowering import Factors, Into, Lowering, Value
from dqrun.nn.model import GNN
from dqrun.nn.prompt import Prompt
from dqrun.quant import Site, named_sites
from dqrun.quant.plan import split_parameters


@dataclass(frozen=True)
class Size:
    """Numbers of nodes, edges (including self-loops that layers add) and graphs that pass through a network."""

    nodes: float
    edges: float
    graphs: float = 1.0


@dataclass(frozen=True)
class Costs:
    """Costs of one forward pass; see `costs`."""

    model_bytes: float  # parameters: quantised ones at their width, the others in FP32
    mean_bits: float  # of all values that are operands, weights and activations, each counted once
    average_bits: float  # of the activations among them
    macs: float
    bit_operations: float  # as in `Work`, and as the next one
    bit_operations_product: float


def costs(model: GNN, size: Size, widths: Mapping[str, float] | None = None) -> Costs:
    """Counts the costs of one forward pass over a graph (or batch) of the given size.

    `widths`: mean bits of sites whose rows differ in width (`measured_widths`), by site. Raises ConfigError for a
    layer that does not list its operations.
    """
    counted = Counting(dict(named_sites(model)), size, widths or {})
    model.lower(counted)
    for prompt in (module for module in model.modules() if isinstance(module, Prompt)):
        channels, rank = prompt.choice.shape
        counted.works += [work.linear(size.nodes, channels, rank, FP32, FP32)] * 2
    weights = weight_widths(model)
    activations, total = list(counted.operands.values()), Total.of(counted.works)
    return Costs(
        model_bytes=_parameter_bits(model, weights) / 8,
        mean_bits=_mean([*activations, *weights]),
        average_bits=_mean(activations),
        macs=total.macs,
        bit_operations=total.bit_operations,
        bit_operations_product=total.bit_operations_product,
    )


class Counting(Lowering):
    """Counts the operations that a network records. `operands`: number of values and bits of each, by site."""

    def __init__(self, sites: Mapping[str, Site], size: Size, widths: Mapping[str, float]) -> None:
        self.sites, self.size, self.widths = sites, size, widths
        self.works: list[Work] = []
        self.operands: dict[str, tuple[float, float]] = {}

    def linear(self, x: Value, weight: Tensor, site: str, into: Into, *, degree_scale: bool = False) -> Value:
        outputs, inputs = weight.shape
        self.works.append(work.linear(self.rows(x), inputs, outputs, self.operand(x), self.bits(site)))
        return super().linear(x, weight, site, into)

    def linear_pair(self, first: Factors, second: Factors, into: Into) -> Value:
        for x, weight, site in (first, second):
            outputs, inputs = weight.shape
            self.works.append(work.linear(self.rows(x), inputs, outputs, self.operand(x), self.bits(site)))
        return super().linear_pair(first, second, into)

    def aggregate(
        self,
        x: Value,
        into: Into,
        *,
        mean: bool = False,
        self_weight: float | None = None,
        degree_scale: bool = False,
        edge_weight: str = "",
    ) -> Value:
        bits, weight_bits = self.operand(x), self.edges(edge_weight) if edge_weight else self.scale_bits(x)
        own = 0 if self_weight is None else self.size.nodes
        self.works.append(work.edge_sum(self.size.edges, own, x.channels, bits, weight_bits))
        return super().aggregate(x, into)

    def attention(
        self, x: Value, vectors: Tensor, sites: tuple[str, str], slope: float, concat: bool, into: Into
    ) -> Value:
        vector_bits, edge_bits = self.bits(sites[0]), self.edges(sites[1], vectors.size(1))
        size = self.size.edges, self.size.nodes, x.channels
        self.works += work.attention(*size, self.operand(x), vector_bits, edge_bits)
        return super().attention(x, vectors, sites, slope, concat, into)

    def dynamic_attention(
        self, ends: tuple[Value, Value], vectors: Tensor, sites: tuple[str, str], slope: float, concat: bool, into: Into
    ) -> Value:
        bits, _ = (self.operand(x) for x in ends)
        widths = bits, self.bits(sites[0]), self.edges(sites[1], vectors.size(0))
        self.works += work.dynamic_attention(self.size.edges, vectors.numel(), *widths)
        return super().dynamic_attention(ends, vectors, sites, slope, concat, into)

    def aggregate_edges(self, x: Value, e: Value, into: Into, *, self_weight: float) -> Value:
        """An addition per edge and channel to make the messages, and one to sum them; a node's own row as in GIN."""
        bits, edge_bits = self.operand(x), self.operand(e)
        self.works.append(Work(self.size.edges * x.channels, (max(bits, edge_bits),)))
        self.works.append(work.edge_sum(self.size.edges, self.size.nodes, x.channels, edge_bits))
        return super().aggregate_edges(x, e, into, self_weight=self_weight)

    def readout(self, x: Value, mode: str, into: Into) -> Value:
        self.works.append(work.readout(self.rows(x), x.channels, self.operand(x), self.scale_bits(x)))
        return super().readout(x, mode, into)

    def rows(self, x: Value) -> float:
        """How many rows a value has."""
        return {"node": self.size.nodes, "edge": self.size.edges, "graph": self.size.graphs}[x.rows]

    def operand(self, x: Value) -> float:
        """Bits of a value that an operation reads."""
        bits = min(self._width(name) for name in (x.site, *x.passed))
        self.operands[x.site] = self.rows(x) * x.channels, bits
        return bits

    def scale_bits(self, x: Value) -> float | None:
        """Bits of the factor by which a sum of rows multiplies each row of x; None for one factor or a power of two."""
        quantizers = (site.quantizer for name in (x.site, *x.passed) if (site := self.sites.get(name)) is not None)
        specs = [quantizer.spec for quantizer in quantizers if quantizer is not None]
        return FP32 if any(spec.granularity.per_row and not spec.power_of_two for spec in specs) else None

    def edges(self, site: str, heads: int = 1) -> float:
        """Bits of numbers per edge that an operation reads, those of a site of this part."""
        self.operands[self.prefix + site] = self.size.edges * heads, self.bits(site)
        return self.bits(site)

    def bits(self, site: str) -> float:
        """Bits of a site of this part."""
        return self._width(self.prefix + site)

    def _width(self, name: str) -> float:
        return self.widths.get(name, width(self.sites.get(name)))


def width(site: Site | None) -> float:
    """Bits of the values that leave a site."""
    return FP32 if site is None or site.quantizer is None else site.quantizer.bits


def weight_widths(model: nn.Module) -> list[tuple[float, float]]:
    """Number of values and bits of each parameter that has a site."""
    modules = dict(model.named_modules())
    found = []
    for name, site in named_sites(model):
        if site.is_weight:
            owner, _, parameter = name.rpartition(".")
            found.append((float(getattr(modules[owner], parameter).numel()), width(site)))
    return found


@torch.no_grad()
def measured_widths(model: GNN, batches: Iterable[Batch]) -> dict[str, float]:
    """Mean bits of each site whose rows differ in width, over the rows of the batches in evaluation mode."""
    found = {name: site.quantizer.scales for name, site in named_sites(model) if site.quantizer is not None}
    varying = {name: scales for name, scales in found.items() if scales.widths_differ}
    bits, rows = dict.fromkeys(varying, 0.0), dict.fromkeys(varying, 0)
    model.eval()
    for batch in batches if varying else ():
        model(batch.x, batch.graph)
        for name, scales in varying.items():
            bits[name] += float(scales.row_bits.sum())
            rows[name] += scales.row_bits.numel()
    return {name: bits[name] / rows[name] for name in varying if rows[name]}


def _mean(tensors: Sequence[tuple[float, float]]) -> float:
    """Mean bits of tensors, given as number of values and bits of each."""
    return sum(number * bits for number, bits in tensors) / sum(number for number, _ in tensors)


def _parameter_bits(model: nn.Module, weights: list[tuple[float, float]]) -> float:
    everything = sum(parameter.numel() for parameter in split_parameters(model)[0])
    return everything * FP32 + sum(number * (bits - FP32) for number, bits in weights)
