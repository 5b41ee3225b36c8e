"""What a network costs: model size, mean width and bit-operations, counted from its layers and the size of its graphs.

What operations cost is `kernels.work`, which programs use too: a network and its program cost the same. A site that is
exact has width 32.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import singledispatch

from torch import nn

from dqrun.kernels import work
from dqrun.kernels.work import FP32, Total, Work
from dqrun.nn.gat import GATLayer
from dqrun.nn.gcn import GCNLayer
from dqrun.nn.gin import GINLayer
from dqrun.nn.linear import MLP, BatchNorm, Embedding, Linear
from dqrun.nn.model import GNN, Head
from dqrun.quant import Site, named_sites
from dqrun.quant.plan import split_parameters


@dataclass(frozen=True)
class Size:
    """Nodes, edges (self-loops that the layers want included) and graphs that pass through a network.

    `bits`: width of the node tensor that enters a module, which an exact `input` site passes on.
    """

    nodes: float
    edges: float
    graphs: float = 1.0
    bits: int = FP32


@dataclass(frozen=True)
class Part:
    """What a module computes, and the activations that are operands, as (number of values, bits)."""

    operations: tuple[Work, ...] = ()
    activations: tuple[tuple[float, int], ...] = ()

    def __add__(self, other: Part) -> Part:
        return Part(self.operations + other.operations, self.activations + other.activations)


@dataclass(frozen=True)
class Costs:
    """Of one forward pass; see `costs`."""

    model_bytes: float  # parameters: quantised ones at their width, the others in FP32
    mean_bits: float  # of all values that are operands, weights and activations, each counted once
    macs: float
    bit_operations: float  # as in `Work`, and as the next one
    bit_operations_product: float


def costs(model: GNN, size: Size) -> Costs:
    """Counts the costs of one forward pass over a graph (or batch) of the given size."""
    parts = Part()
    if model.encoder is not None:
        parts += count(model.encoder, size)
    sites = dict(named_sites(model))
    for i, layer in enumerate(model.layers):
        parts += count(layer, replace(size, bits=_state_width(sites, i)))
    if model.readout is not None:
        last, bits = _out_channels(model.layers[-1]), _state_width(sites, len(model.layers))
        parts += Part((work.readout(size.nodes, last, bits),), ((size.nodes * last, bits),))
    if model.head is not None:
        parts += count(model.head, Size(size.graphs, 0.0))
    weights = weight_widths(model)
    tensors, total = [*parts.activations, *weights], Total.of(parts.operations)
    return Costs(
        model_bytes=_parameter_bits(model, weights) / 8,
        mean_bits=sum(number * bits for number, bits in tensors) / sum(number for number, _ in tensors),
        macs=total.macs,
        bit_operations=total.bit_operations,
        bit_operations_product=total.bit_operations_product,
    )


def _state_width(sites: dict[str, Site], i: int) -> int:
    """Bits of node tensor i, for networks that round it once for all that read it."""
    return width(sites[f"states.{i}"]) if f"states.{i}" in sites else FP32


def _out_channels(layer: nn.Module) -> int:
    if isinstance(layer, GINLayer):
        return [each.weight.size(0) for each in layer.mlp if isinstance(each, Linear)][-1]
    assert isinstance(layer, GCNLayer | GATLayer)
    return layer.bias.numel()


def width(site: Site) -> int:
    """Bits of the values that leave a site."""
    return FP32 if site.quantizer is None else site.quantizer.grid.bits


def weight_widths(model: nn.Module) -> list[tuple[float, int]]:
    """Number of values and bits of each parameter that has a site."""
    modules = dict(model.named_modules())
    found = []
    for name, site in named_sites(model):
        if site.is_weight:
            owner, _, parameter = name.rpartition(".")
            found.append((float(getattr(modules[owner], parameter).numel()), width(site)))
    return found


def _parameter_bits(model: nn.Module, weights: list[tuple[float, int]]) -> float:
    everything = sum(parameter.numel() for parameter in split_parameters(model)[0])
    return everything * FP32 + sum(number * (bits - FP32) for number, bits in weights)


@singledispatch
def count(module: nn.Module, size: Size) -> Part:
    """What a module costs; each kind of module says it below."""
    raise TypeError(f"no function registered here counts the costs of {type(module).__name__}")


@count.register
def _(module: Linear, size: Size) -> Part:
    out_channels, in_channels = module.weight.shape
    rows, bits = size.nodes * in_channels, min(size.bits, width(module.sites.input))
    product = work.linear(size.nodes, in_channels, out_channels, bits, width(module.sites.weight))
    return Part((product,), ((rows, bits),))


@count.register
def _(module: BatchNorm, size: Size) -> Part:
    return Part()


@count.register
def _(module: Embedding, size: Size) -> Part:
    return Part()  # a look-up


@count.register(MLP)
@count.register(Head)
def _(module: MLP | Head, size: Size) -> Part:
    return sum((count(each, size) for each in module), Part())


@count.register
def _(module: GCNLayer, size: Size) -> Part:
    sites = module.sites
    in_channels, out_channels = module.weight.shape
    rows_in, rows_out = size.nodes * in_channels, size.nodes * out_channels
    bits = min(size.bits, width(sites.input))
    matmul = work.linear(size.nodes, in_channels, out_channels, bits, width(sites.weight))
    activations = ((rows_in, bits), (rows_out, width(sites.features)))
    if sites.edge_weight.is_fp32 and sites.message.is_fp32:  # a plain sum, see GCNLayer
        return Part((matmul, work.edge_sum(size.edges, out_channels, width(sites.features))), activations)
    gather = work.edge_sum(size.edges, out_channels, width(sites.features), width(sites.edge_weight))
    return Part((matmul, gather), (*activations, (size.edges, width(sites.edge_weight))))


@count.register
def _(module: GATLayer, size: Size) -> Part:
    sites = module.sites
    in_channels, channels = module.weight.shape
    rows_in, rows = size.nodes * in_channels, size.nodes * channels
    bits = min(size.bits, width(sites.input))
    widths = width(sites.attention), width(sites.coefficient)
    operations = (
        work.linear(size.nodes, in_channels, channels, bits, width(sites.weight)),
        *work.attention(size.edges, size.nodes, channels, width(sites.features), *widths),
    )
    coefficients = (size.edges * module.heads, width(sites.coefficient))
    return Part(operations, ((rows_in, bits), (rows, width(sites.features)), coefficients))


@count.register
def _(module: GINLayer, size: Size) -> Part:
    channels = next(each.weight.size(1) for each in module.mlp if isinstance(each, Linear))
    bits = min(size.bits, width(module.sites.input), width(module.sites.message))
    gather = work.edge_sum_with_own(size.edges, size.nodes, channels, bits)
    # The sum is wider than its terms: what the MLP multiplies has the width of its own site.
    return Part((gather,), ((size.nodes * channels, bits),)) + count(module.mlp, replace(size, bits=FP32))
