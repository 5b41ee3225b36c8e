"""What a program costs: widths, bytes, multiply-accumulates (MACs) and bit-operations of each operation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dqrun.engine.operations import (
    LOGITS,
    Aggregate,
    Attention,
    Linear,
    Lookup,
    Operation,
    Quantize,
    Readout,
    result_channels,
    result_grid,
)
from dqrun.kernels.integer import CodeGrid

if TYPE_CHECKING:
    from dqrun.engine.program import Program

FLOAT_BITS = 32
ONE_BIT = 1  # an edge without a weight counts as a product with a one-bit weight


@dataclass(frozen=True)
class Cost:
    """One operation on a batch: `macs` counts products with their sum, in a sum over edges or nodes the sums.

    `mean_bit_operations`: MACs x (w_bits + a_bits) / 2, as in Degree-Quant and its successors; `bit_operations`: MACs x
    w_bits x a_bits, as in the literature on mixed precision. `input_bits`, `output_bits`: of codes, 32 for floats.
    """

    kind: str
    target: str
    input_bits: int
    weight_bits: int
    output_bits: int
    weight_bytes: int
    output_bytes: int
    macs: int

    @property
    def mean_bit_operations(self) -> float:
        return self.macs * (self.weight_bits + self.input_bits) / 2

    @property
    def bit_operations(self) -> int:
        return self.macs * self.weight_bits * self.input_bits


def costs(program: Program, num_nodes: int, num_edges: int, num_graphs: int) -> list[Cost]:
    """The cost of each operation for a batch; `num_edges` counts raw edges, self-loops are added where needed."""
    edges = num_edges + num_nodes * program.self_loops
    grids: dict[str, CodeGrid | None] = {}
    rows, found = num_nodes, []
    for operation in program.operations:
        macs = _macs_per_row(operation) * rows + _macs_per_edge(operation) * edges
        rows = num_graphs if isinstance(operation, Readout) else rows
        grids[operation.target] = result_grid(operation)
        found.append(
            Cost(
                kind=type(operation).__name__.lower(),
                target=operation.target,
                input_bits=_bits(grids.get(operation.source)),
                weight_bits=_weight_bits(operation),
                output_bits=_bits(grids[operation.target]),
                weight_bytes=stored_bytes(operation),
                output_bytes=rows * _row_bytes(grids[operation.target], result_channels(operation)),
                macs=macs,
            )
        )
    return found


def summarise(program: Program, num_nodes: int, num_edges: int, num_graphs: int) -> str:
    """The costs as a table with totals, and the float islands."""
    listed = costs(program, num_nodes, num_edges, num_graphs)
    header = ("operation", "result", "in", "w", "out", "weight B", "result B", "MACs", "bitops mean", "bitops w*a")
    lines: list[tuple[str, ...]] = [header]
    for c in listed:
        figures = (c.weight_bytes, c.output_bytes, c.macs, round(c.mean_bit_operations), c.bit_operations)
        bits = (c.input_bits, c.weight_bits or "-", c.output_bits)
        lines.append((c.kind, c.target, *map(str, bits), *map(str, figures)))
    totals = (
        sum(c.weight_bytes for c in listed),
        "",
        sum(c.macs for c in listed),
        round(sum(c.mean_bit_operations for c in listed)),
        sum(c.bit_operations for c in listed),
    )
    lines.append(("total", "", "", "", "", *map(str, totals)))
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    table = ["  ".join(cell.ljust(size) for cell, size in zip(line, widths, strict=True)).rstrip() for line in lines]
    batch = f"{num_nodes} nodes, {num_edges} edges, {num_graphs} graphs"
    return "\n".join([batch, *table, *(f"float island: {island}" for island in float_islands(program))])


def float_islands(program: Program) -> list[str]:
    """What is computed in floats between integer operations."""
    islands = []
    for operation in program.operations:
        if isinstance(operation, Attention):
            islands.append(f"{operation.target}: attention logits, softmax and weighted sum (float32)")
        if operation.target == LOGITS:
            islands.append(f"{LOGITS}: result of the last integer sum (float32)")
    return islands


def stored_bytes(operation: Operation) -> int:
    """Bytes of an operation's weights or table in a file."""
    if isinstance(operation, Linear):
        outputs, inputs = operation.weight.codes.shape
        return int(outputs * (-(-inputs // 2) if operation.weight_bits <= 4 else inputs))
    if isinstance(operation, Lookup):
        return operation.table.nbytes
    return operation.attention.nbytes if isinstance(operation, Attention) else 0


def _macs_per_row(operation: Operation) -> int:
    if isinstance(operation, Linear):
        return operation.weight.codes.numel()
    if isinstance(operation, Attention):
        return operation.attention.numel()  # the two halves of the logit
    if isinstance(operation, Readout) or (isinstance(operation, Aggregate) and operation.self_weight is not None):
        return operation.channels
    return 0


def _macs_per_edge(operation: Operation) -> int:
    if isinstance(operation, Attention):
        return operation.attention.numel() // 2
    return operation.channels if isinstance(operation, Aggregate) else 0


def _weight_bits(operation: Operation) -> int:
    if isinstance(operation, Linear):
        return operation.weight_bits
    if isinstance(operation, Quantize | Lookup):
        return 0
    return FLOAT_BITS if isinstance(operation, Attention) else ONE_BIT


def _bits(grid: CodeGrid | None) -> int:
    return FLOAT_BITS if grid is None else grid.bits


def _row_bytes(grid: CodeGrid | None, channels: int) -> int:
    return 4 * channels if grid is None else grid.row_bytes(channels)
