"""The work of each operation: multiply-accumulates (MACs) and the widths of their operands.

`integer.summary` uses it for the operations of a program, `nn.costs` for those of a network, which may have no program.
Linear maps, sums over edges and readouts are counted; biases, activations, batch norms, softmax, rounding and
requantisation are not. Numbers of rows, edges and graphs may be means, hence floats.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod

FP32 = 32


@dataclass(frozen=True)
class Work:
    """Multiply-accumulates with the widths of their operands in bits: two, or one where values are only added up."""

    macs: float
    operands: tuple[float, ...]

    @property
    def bit_operations(self) -> float:
        """MACs x mean width of the operands, as in Degree-Quant's successors (MixQ); FP32: 32."""
        return self.macs * sum(self.operands) / len(self.operands)

    @property
    def bit_operations_product(self) -> float:
        """MACs x product of the widths, as in the literature on mixed precision; FP32: 1024, or 32 for sums."""
        return self.macs * prod(self.operands)


@dataclass(frozen=True)
class Total:
    """The sums of a list of `Work`."""

    macs: float
    bit_operations: float
    bit_operations_product: float

    @classmethod
    def of(cls, works: Iterable[Work]) -> Total:
        listed = list(works)
        return cls(
            sum(work.macs for work in listed),
            sum(work.bit_operations for work in listed),
            sum(work.bit_operations_product for work in listed),
        )


def linear(rows: float, inputs: int, outputs: int, bits: float, weight_bits: float) -> Work:
    """x W^T: values of `bits` times weights."""
    return Work(rows * inputs * outputs, (bits, weight_bits))


def edge_sum(edges: float, own: float, channels: int, bits: float, weight_bits: float | None = None) -> Work:
    """Sum over edges: an addition per edge and channel, or a product where edges have weights.

    `own`: nodes whose own row is a term as well (GIN), which counts as an edge. `weight_bits`: of the factor of an edge
    or of its source's row, None without one.
    """
    return Work((edges + own) * channels, (bits,) if weight_bits is None else (bits, weight_bits))


def attention(
    edges: float, rows: float, channels: int, bits: float, vector_bits: float = FP32, coefficient_bits: float = FP32
) -> tuple[Work, Work]:
    """GAT: two products of each row with the attention vectors, and a weighted sum over edges; H C channels."""
    return Work(2 * rows * channels, (bits, vector_bits)), edge_sum(edges, 0, channels, bits, coefficient_bits)


def dynamic_attention(
    edges: float, channels: int, bits: float, vector_bits: float = FP32, coefficient_bits: float = FP32
) -> tuple[Work, Work]:
    """GATv2: a product of float sums with the attention vectors on each edge, and a weighted sum; H C channels."""
    return Work(edges * channels, (FP32, vector_bits)), edge_sum(edges, 0, channels, bits, coefficient_bits)


def readout(rows: float, channels: int, bits: float, scale_bits: float | None = None) -> Work:
    """An addition (or comparison) per row and channel, or a product where each row has a scale."""
    return Work(rows * channels, (bits,) if scale_bits is None else (bits, scale_bits))
