"""Runs a program with the fixed-point rule of requantisation (`epilogue=fixed`): with integers alone.

Plain torch, int64; the C export must give the same codes. `prepare` computes the fixed-point numbers of operations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import singledispatch

import torch
from torch import Tensor

from dqrun.errors import ConfigError, DataError
from dqrun.graphs import CSR, Graph
from dqrun.integer.operations import (
    Aggregate,
    Attention,
    Linear,
    LinearPair,
    Lookup,
    Operation,
    Quantize,
    Readout,
    Value,
    Values,
    codes,
    result_grid,
)
from dqrun.integer.signature import LARGEST_SUM
from dqrun.kernels.integer import CodeGrid, Codes, RowGrid
from dqrun.kernels.integer.fixed import FixedEpilogue, RowFactor
from dqrun.kernels.integer.fixed_attention import FixedAttention

EXPECTED_DEGREE = 2**16
"""The unit of logits that are plain sums over edges or nodes is chosen for as many of them; more saturate."""

Grids = Mapping[str, CodeGrid | None]


@dataclass(frozen=True)
class FixedOperation:
    """An operation with the numbers of its fixed-point rule; `Quantize` and `Lookup` have none."""

    operation: Operation
    epilogue: FixedEpilogue | None = None
    attention: FixedAttention | None = None

    def run(self, values: Values, graph: Graph) -> Value:
        """The result: Codes, or for logits int32 in units of `epilogue.scale`; raises DataError for edge weights."""
        return _run(self.operation, self, values, graph)

    def finish(self, values: Values, acc: Tensor, second: Tensor | None, rows: RowFactor | None) -> Value:
        """The result of the epilogue for sums int64 [N, C]."""
        name = getattr(self.operation, "residual", "")
        assert self.epilogue is not None
        return self.epilogue.finish(acc, second, rows, codes(values, name) if name else None)


def prepare(operations: Sequence[Operation]) -> tuple[FixedOperation, ...]:
    """The operations with their numbers; raises ConfigError, with the result's name, if one has no fixed-point form."""
    grids: dict[str, CodeGrid | None] = {}
    made = []
    for operation in operations:
        try:
            grids[operation.target] = _grid(operation)
            made.append(_prepare(operation, grids))
        except ConfigError as error:
            raise ConfigError(f"{operation.target}: {error}") from None
    return tuple(made)


def _grid(operation: Operation) -> CodeGrid | None:
    grid = result_grid(operation)
    if isinstance(grid, RowGrid):
        raise ConfigError("rows with ranges of their own have no fixed-point form: run it with epilogue=float64")
    return grid


@singledispatch
def _prepare(operation: Operation, grids: Grids) -> FixedOperation:
    raise ConfigError(f"an operation {type(operation).__name__} has no fixed-point form: run it with epilogue=float64")


@_prepare.register(Quantize)
@_prepare.register(Lookup)
def _(operation: Quantize | Lookup, grids: Grids) -> FixedOperation:
    return FixedOperation(operation)


@_prepare.register
def _(operation: Linear, grids: Grids) -> FixedOperation:
    return _with_epilogue(operation, grids, reach=_largest_product(operation.weight.codes, grids[operation.source]))


@_prepare.register
def _(operation: LinearPair, grids: Grids) -> FixedOperation:
    own = _largest_product(operation.weight.codes, grids[operation.source])
    other = _largest_product(operation.second_weight.codes, grids[operation.second])
    reach = own + other * float(operation.ratio.abs().max())
    return _with_epilogue(operation, grids, reach=reach, ratio=operation.ratio)


@_prepare.register
def _(operation: Aggregate, grids: Grids) -> FixedOperation:
    reach = float(_top(grids[operation.source]))
    if not operation.mean:
        reach *= EXPECTED_DEGREE**0.5 if operation.degree_scale else EXPECTED_DEGREE
    own = operation.self_weight
    ratio = None if own is None or operation.mean else torch.tensor([own], dtype=torch.float64)
    return _with_epilogue(operation, grids, reach=reach, ratio=ratio)


@_prepare.register
def _(operation: Readout, grids: Grids) -> FixedOperation:
    nodes = EXPECTED_DEGREE if operation.mode == "sum" else 1
    return _with_epilogue(operation, grids, reach=float(_top(grids[operation.source]) * nodes))


@_prepare.register
def _(operation: Attention, grids: Grids) -> FixedOperation:
    grid = grids[operation.source]
    assert grid is not None
    attention = FixedAttention.of(operation.attention, grid.scale, operation.negative_slope, operation.concat)
    made = _with_epilogue(operation, grids, reach=grid.top / attention.unit, unit=attention.unit)
    return FixedOperation(operation, made.epilogue, attention)


def _with_epilogue(
    operation: Linear | LinearPair | Aggregate | Attention | Readout,
    grids: Grids,
    *,
    reach: float,
    ratio: Tensor | None = None,
    unit: float = 1.0,
) -> FixedOperation:
    residual = grids.get(getattr(operation, "residual", ""))
    epilogue = FixedEpilogue.of(operation.epilogue, unit=unit, ratio=ratio, residual=residual, reach=reach)
    return FixedOperation(operation, epilogue)


def _largest_product(weight: Tensor, grid: CodeGrid | None) -> float:
    """The largest sum of products that these weights can give."""
    return float(min(_top(grid) * int(weight.long().abs().sum(1).max()), LARGEST_SUM))


def _top(grid: CodeGrid | None) -> int:
    assert grid is not None
    return grid.top


@singledispatch
def _run(operation: Operation, fixed: FixedOperation, values: Values, graph: Graph) -> Value:
    raise TypeError(f"{type(operation).__name__} is no operation of fixed point")


@_run.register(Quantize)
@_run.register(Lookup)
def _(operation: Quantize | Lookup, fixed: FixedOperation, values: Values, graph: Graph) -> Value:
    return operation.run(values, graph)


@_run.register
def _(operation: Linear, fixed: FixedOperation, values: Values, graph: Graph) -> Value:
    rows = RowFactor.inverse_root(graph.in_degree) if operation.degree_scale else None
    return fixed.finish(values, _product(codes(values, operation.source), operation.weight.codes), None, rows)


@_run.register
def _(operation: LinearPair, fixed: FixedOperation, values: Values, graph: Graph) -> Value:
    first = _product(codes(values, operation.source), operation.weight.codes)
    second = _product(codes(values, operation.second), operation.second_weight.codes)
    return fixed.finish(values, first, second, None)


@_run.register
def _(operation: Aggregate, fixed: FixedOperation, values: Values, graph: Graph) -> Value:
    if graph.edge_weight is not None:
        raise DataError("edge_weight must be None with epilogue=fixed: weights of edges are floats")
    x = codes(values, operation.source)
    acc, degree = _edge_sums(graph.csr, x), graph.in_degree
    if operation.mean:
        return fixed.finish(values, acc, None, RowFactor.reciprocal(degree))
    rows = RowFactor.inverse_root(degree) if operation.degree_scale else None
    return fixed.finish(values, acc, None if operation.self_weight is None else _centred(x), rows)


@_run.register
def _(operation: Attention, fixed: FixedOperation, values: Values, graph: Graph) -> Value:
    assert fixed.attention is not None
    return fixed.finish(values, fixed.attention(graph.csr, codes(values, operation.source)), None, None)


@_run.register
def _(operation: Readout, fixed: FixedOperation, values: Values, graph: Graph) -> Value:
    x, size = _centred(codes(values, operation.source)), graph.node_ptr.diff()
    acc = torch.zeros(size.numel(), x.size(1), dtype=torch.int64)
    if operation.mode == "max":
        acc.scatter_reduce_(0, graph.batch.unsqueeze(1).expand_as(x), x, "amax", include_self=False)
    else:
        acc.index_add_(0, graph.batch, x)
    return fixed.finish(values, acc, None, RowFactor.reciprocal(size) if operation.mode == "mean" else None)


def _centred(x: Codes) -> Tensor:
    """Codes less their zero point, int64 [N, channels]."""
    return x.unpack().long() - x.grid.zero_point


def _product(x: Codes, weight: Tensor) -> Tensor:
    """Sums of products, exact: whole numbers within int32, which float64 holds."""
    return (_centred(x).double() @ weight.double().T).long()


def _edge_sums(csr: CSR, x: Codes) -> Tensor:
    values = _centred(x)
    return values.new_zeros(csr.num_nodes, x.channels).index_add_(0, csr.row, values.index_select(0, csr.col))
