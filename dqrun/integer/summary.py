"""Costs of a program: widths, bytes, multiply-accumulates (MACs) and bit-operations of each operation."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING

from dqrun.integer.operations import (
    Aggregate,
    Attention,
    DynamicAttention,
    Linear,
    LinearPair,
    Lookup,
    Operation,
    Quantize,
    Readout,
    result_channels,
    result_grid,
)
from dqrun.kernels import work
from dqrun.kernels.integer import Grid, RowGrid, Weight
from dqrun.kernels.integer.stored import row_bytes
from dqrun.kernels.work import FP32, Total, Work

if TYPE_CHECKING:
    from dqrun.integer.program import Program


@dataclass(frozen=True)
class Cost:
    """One operation on a batch. `input_bits`, `weight_bits`, `output_bits`: of codes, 32 for floats, 0 for none."""

    kind: str
    target: str
    input_bits: int
    weight_bits: int
    output_bits: int
    weight_bytes: int
    output_bytes: int
    work: Total


def costs(program: Program, num_nodes: int, num_edges: int, num_graphs: int) -> list[Cost]:
    """The cost of each operation for a batch; `num_edges` counts raw edges, self-loops are added where needed."""
    edges = num_edges + num_nodes * program.self_loops
    grids: dict[str, Grid | None] = {}
    rows, found = num_nodes, []
    for operation in program.operations:
        bits = _bits(grids.get(operation.source))
        second_bits = _bits(grids.get(getattr(operation, "second", "")))
        scale_bits = row_scale_bits(grids.get(operation.source))
        done = Total.of(works(operation, rows, edges, bits, second_bits, scale_bits))
        rows = num_graphs if isinstance(operation, Readout) else rows
        grids[operation.target] = result_grid(operation)
        found.append(
            Cost(
                kind=type(operation).__name__.lower(),
                target=operation.target,
                input_bits=bits,
                weight_bits=_weight_bits(operation),
                output_bits=_bits(grids[operation.target]),
                weight_bytes=stored_bytes(operation),
                output_bytes=rows * _row_bytes(grids[operation.target], result_channels(operation)),
                work=done,
            )
        )
    return found


def works(
    operation: Operation, rows: int, edges: int, bits: int, second_bits: int, scale_bits: int | None = None
) -> tuple[Work, ...]:
    """The counted work of an operation over rows (and edges) of codes of `bits`; `second_bits`: of its second value.

    `scale_bits`: width of the factor by which a sum of rows multiplies each row of the source; None without one.
    """
    if isinstance(operation, Linear):
        outputs, inputs = operation.weight.codes.shape
        return (work.linear(rows, inputs, outputs, bits, operation.weight_bits),)
    if isinstance(operation, LinearPair):
        (outputs, inputs), others = operation.weight.codes.shape, operation.second_weight.codes.size(1)
        first = work.linear(rows, inputs, outputs, bits, operation.weight_bits)
        return first, work.linear(rows, others, outputs, second_bits, operation.second_weight_bits)
    if isinstance(operation, Aggregate):
        own = 0 if operation.self_weight is None else rows
        return (work.edge_sum(edges, own, operation.channels, bits, scale_bits),)
    if isinstance(operation, Attention):
        return work.attention(edges, rows, operation.attention.numel() // 2, bits)
    if isinstance(operation, DynamicAttention):
        return work.dynamic_attention(edges, operation.attention.numel(), bits)
    return (work.readout(rows, operation.channels, bits, scale_bits),) if isinstance(operation, Readout) else ()


def row_scale_bits(grid: Grid | None) -> int | None:
    """The width of the factor by which a sum multiplies rows of a grid; None for one factor or a power of two."""
    return FP32 if isinstance(grid, RowGrid) and not grid.power_of_two else None


def summarise(program: Program, num_nodes: int, num_edges: int, num_graphs: int) -> str:
    """The costs as a table with totals, and the computations that are not in integers."""
    listed = costs(program, num_nodes, num_edges, num_graphs)
    header = ("operation", "result", "in", "w", "out", "weight B", "result B", "MACs", "bitops mean", "bitops w*a")
    lines: list[tuple[str, ...]] = [header]
    for c in listed:
        figures = (c.weight_bytes, c.output_bytes, *_figures(c.work))
        bits = (c.input_bits, c.weight_bits or "-", c.output_bits)
        lines.append((c.kind, c.target, *map(str, bits), *map(str, figures)))
    whole = Total(*(sum(part) for part in zip(*(astuple(c.work) for c in listed), strict=True)))
    totals = sum(c.weight_bytes for c in listed), "", *_figures(whole)
    lines.append(("total", "", "", "", "", *map(str, totals)))
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    table = ["  ".join(cell.ljust(size) for cell, size in zip(line, widths, strict=True)).rstrip() for line in lines]
    batch = f"{num_nodes} nodes, {num_edges} edges, {num_graphs} graphs"
    return "\n".join([batch, *table, *(f"in floats: {line}" for line in in_floats(program))])


def in_floats(program: Program) -> list[str]:
    """Computations that are not in integers, in order: each with its type and the results that need it.

    All others are sums and products of codes in int32, and copies of codes.
    """
    found: dict[str, list[str]] = {}
    by_rows: set[str] = set()
    for operation in program.operations:
        fixed = program.epilogue == "fixed" and not isinstance(operation, Quantize)
        for what in () if fixed else (*row_parts(operation, by_rows), *float_parts(operation)):
            found.setdefault(what, []).append(operation.target)
    return [f"{what}: {', '.join(targets)}" for what, targets in found.items()]


def row_parts(operation: Operation, by_rows: set[str]) -> list[str]:
    """Float computations due to grids for each row; `by_rows`: values with such grids so far, to which the operation's
    own result is added."""
    if isinstance(result_grid(operation), RowGrid):
        by_rows.add(operation.target)
    if operation.source not in by_rows or isinstance(operation, Attention | DynamicAttention):
        return []
    if isinstance(operation, Aggregate | Readout):
        return ["sums of codes times the scale of their row (float64, exact as long as they need 53 bits)"]
    return ["scale and offset of a row, times the sums of its codes (float64)"]


def float_parts(operation: Operation) -> list[str]:
    """The parts of an operation that are computed in floats."""
    if isinstance(operation, Quantize):
        return ["rounding of features (float32)"]
    if isinstance(operation, Lookup):
        return []
    parts = []
    if isinstance(operation, Attention | DynamicAttention):
        parts.append("attention logits, softmax and weighted sum (float32)")
    if isinstance(operation, Aggregate) and operation.self_weight is not None:
        parts.append("1 + eps times a node's own codes, added to its sum (float64)")
    if isinstance(operation, LinearPair):
        parts.append("sum of two products (float64)")
    if isinstance(operation, Aggregate) and operation.mean:
        parts.append("division of a sum by the number of edges (float64)")
    if isinstance(operation, Readout) and operation.mode == "mean":
        parts.append("division of a sum by the number of nodes (float64)")
    if isinstance(operation, Linear | Aggregate) and operation.degree_scale:
        parts.append("factor d^-1/2 of a row (root in float32, product in float64)")
    coded = operation.epilogue.grid is not None
    if isinstance(operation.epilogue.grid, RowGrid):
        return [*parts, "requantisation (float64), range, scale, offset and codes of a row (float32)"]
    return [*parts, "requantisation (float64)" if coded else "logits (float64, rounded to float32)"]


def stored_bytes(operation: Operation) -> int:
    """Bytes of an operation's weights or table in a file."""
    if isinstance(operation, Linear):
        return _weight_bytes(operation.weight, operation.weight_bits)
    if isinstance(operation, LinearPair):
        second = _weight_bytes(operation.second_weight, operation.second_weight_bits)
        return _weight_bytes(operation.weight, operation.weight_bits) + second
    if isinstance(operation, Lookup):
        return operation.table.nbytes
    return operation.attention.nbytes if isinstance(operation, Attention | DynamicAttention) else 0


def _weight_bytes(weight: Weight, bits: int) -> int:
    outputs, inputs = weight.codes.shape
    return int(outputs * row_bytes(inputs, bits))


def _figures(total: Total) -> tuple[int, ...]:
    return tuple(round(value) for value in astuple(total))


def _weight_bits(operation: Operation) -> int:
    if isinstance(operation, Linear | LinearPair):
        return operation.weight_bits
    return FP32 if isinstance(operation, Attention | DynamicAttention) else 0


def _bits(grid: Grid | None) -> int:
    return FP32 if grid is None else grid.bits


def _row_bytes(grid: Grid | None, channels: int) -> int:
    """Bytes of a row of a value, with its scale and offset where it has them."""
    if grid is None:
        return 4 * channels
    return grid.row_bytes(channels) + (grid.number_bytes if isinstance(grid, RowGrid) else 0)
