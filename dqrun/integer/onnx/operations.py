"""Each operation of a program as nodes of an ONNX graph; attention has a module of its own."""

from __future__ import annotations

from functools import singledispatch

import numpy as np
import torch
from torch import Tensor

from dqrun.errors import ConfigError
from dqrun.integer.onnx.attention import attention_sums, dynamic_attention_sums
from dqrun.integer.onnx.epilogue import finish
from dqrun.integer.onnx.structure import Structure
from dqrun.integer.onnx.values import Coded, Values, code_grid
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
)
from dqrun.kernels.integer import CodeGrid, Weight

EXACT = 2**24
"""float32 represents all integers up to this one exactly."""


@singledispatch
def emit(operation: Operation, values: Values, structure: Structure) -> None:
    """Adds the nodes of an operation; stores its result of codes in `values`. Raises ConfigError for operations without
    an ONNX form."""
    raise ConfigError.rule(operation.target, "be an operation with a form in ONNX", type(operation).__name__)


@emit.register
def _(operation: Quantize, values: Values, structure: Structure) -> None:
    build, grid = values.build, code_grid(operation.target, operation.grid)
    inverse = 1 / torch.tensor(grid.scale, dtype=torch.float32)  # training multiplies by 1 / scale, it does not divide
    steps = build.op("Mul", operation.source, build.constant(inverse.item(), np.float32))
    values.quantized(steps, Coded(operation.target, grid, operation.channels))


@emit.register
def _(operation: Lookup, values: Values, structure: Structure) -> None:
    build, table = values.build, operation.table
    codes, grid = table.unpack().numpy(), code_grid(operation.target, table.grid)
    if table.grid.planes > 1:  # ONNX has no narrower type for codes
        rows = build.cast(build.narrow_constant(codes, "uint4"), np.uint8)
    else:
        rows = build.constant(codes, np.uint8)
    build.op("Gather", rows, operation.source, axis=0, name=operation.target)
    values.coded[operation.target] = Coded(operation.target, grid, table.channels)


@emit.register
def _(operation: Linear, values: Values, structure: Structure) -> None:
    acc = product(values, operation.source, operation.weight, operation.weight_bits)
    finish(values, acc, operation, structure.inverse_sqrt_degree if operation.degree_scale else "")


@emit.register
def _(operation: LinearPair, values: Values, structure: Structure) -> None:
    build = values.build
    first = product(values, operation.source, operation.weight, operation.weight_bits)
    second = product(values, operation.second, operation.second_weight, operation.second_weight_bits)
    ratio = build.constant(operation.ratio.numpy(), np.float64)
    finish(values, build.op("Add", first, build.op("Mul", ratio, second)), operation)


@emit.register
def _(operation: Aggregate, values: Values, structure: Structure) -> None:
    build = values.build
    rows = build.op("Gather", values.whole(operation.source), structure.gathered, axis=0)
    acc = build.cast(structure.segment_sum(rows, structure.into_nodes), np.float64)
    if operation.mean:
        acc = build.op("Div", acc, structure.at_least_one(structure.into_nodes.count))
    if operation.self_weight is not None:
        weight = build.constant(operation.self_weight, np.float64)
        acc = build.op("Add", acc, build.op("Mul", weight, values.real(operation.source)))
    finish(values, acc, operation, structure.inverse_sqrt_degree if operation.degree_scale else "")


@emit.register
def _(operation: Attention, values: Values, structure: Structure) -> None:
    finish(values, attention_sums(operation, values, structure), operation)


@emit.register
def _(operation: DynamicAttention, values: Values, structure: Structure) -> None:
    finish(values, dynamic_attention_sums(operation, values, structure), operation)


@emit.register
def _(operation: Readout, values: Values, structure: Structure) -> None:
    build, graphs = values.build, structure.in_graphs
    if operation.mode == "max":
        rows, zero = values.real(operation.source), build.constant(0, np.float64)
        largest = structure.segment_max(rows, "batch", structure.num_graphs, (operation.channels,))
        some = structure.column(build.op("Greater", graphs.count, build.constant(0, np.int64)))
        acc = build.op("Where", some, largest, zero)
    else:
        lead = build.constant(np.zeros((1, operation.channels)), np.int32)
        rows = build.op("Concat", lead, values.whole(operation.source), axis=0)
        acc = build.cast(structure.segment_sum(rows, graphs), np.float64)
    if operation.mode == "mean":
        acc = build.op("Div", acc, structure.at_least_one(graphs.count))
    finish(values, acc, operation)


def product(values: Values, source: str, weight: Weight, bits: int) -> str:
    """Sums over inputs of (code - zero point) * weight code, exact, float64 [R, M].

    A float32 product if all partial sums are integers that float32 represents exactly: ONNX Runtime converts it to an
    integer product. Else a float64 product.
    """
    build, codes = values.build, weight.codes.t().numpy()
    stored = build.cast(build.narrow_constant(codes, "int4"), np.int8) if bits <= 4 else build.constant(codes, np.int8)
    factors = build.op("DequantizeLinear", stored, build.constant(1, np.float32))
    if largest_part(weight.codes, values.coded[source].grid) <= EXACT:
        return build.cast(build.op("MatMul", values.steps(source), factors), np.float64)
    return build.op("MatMul", values.real(source), build.cast(factors, np.float64))


def largest_part(codes: Tensor, grid: CodeGrid) -> int:
    """A bound of |partial sums| in any order: the larger of the sums of positive and of negative products."""
    ends = torch.stack([codes.long() * (grid.top - grid.zero_point), codes.long() * -grid.zero_point])
    positive, negative = ends.amax(0).clamp(min=0).sum(1), ends.amin(0).clamp(max=0).sum(1)
    return int(torch.maximum(positive, -negative).max())
