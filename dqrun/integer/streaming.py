"""Integer programs on a whole large graph, operation by operation and block by block, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from dqrun.errors import ConfigError, DataError
from dqrun.graphs import Graph
from dqrun.integer.operations import (
    INPUT,
    LOGITS,
    Aggregate,
    Attention,
    DynamicAttention,
    Operation,
    Readout,
    Value,
    inputs,
)
from dqrun.kernels.integer import Codes
from dqrun.kernels.sampling import Parts

if TYPE_CHECKING:
    from dqrun.integer.program import Program

Features = Callable[[Tensor], Tensor]
"""Gives float32 [n, in_channels], or int64 [n] categories, by the ids of nodes, int64 [n]."""


@torch.no_grad()
def stream(program: Program, features: Tensor | Features, graph: Graph, block: int) -> Tensor:
    """The logits of all nodes, float32 [N, C], bit for bit those of `program.run`, `block` nodes at a time.

    `features`: a tensor, which may be memory-mapped, or a function from node indices to rows; rows are read for one
    block at a time. Between operations the packed codes of all nodes are in memory, and the tensors of one block.
    Raises ConfigError for a program of a graph task; DataError for features that `program(...)` refuses (NaN included),
    a graph that `program.run` refuses, and a block that is no integer >= 1.
    """
    if not isinstance(block, int) or block < 1:
        raise DataError(f"block must be an integer >= 1, got {block!r}")
    if not isinstance(features, Tensor) and not callable(features):
        raise DataError(f"features must be a tensor or a function, got {type(features).__name__}")
    if any(isinstance(operation, Readout) for operation in program.operations):
        raise ConfigError("a program of a graph task is run on batches of graphs, not in blocks of one")
    program.check_graph(graph)
    if isinstance(features, Tensor) and len(features) != graph.num_nodes:
        raise DataError(f"x must have a row for each of {graph.num_nodes} nodes, got {len(features)}")
    parts, read = Parts(graph, program.self_loops), features.__getitem__ if isinstance(features, Tensor) else features
    last_use = {name: i for i, operation in enumerate(program.operations) for name in inputs(operation)}
    values: dict[str, Value] = {}
    firsts = range(0, max(graph.num_nodes, 1), block)  # a graph without nodes has one block, without rows
    for i, operation in enumerate(program.operations):
        made = [_run(program, i, values, read, parts, first, block) for first in firsts]
        values[operation.target] = _joined(made)
        for name in {name for name in inputs(operation) if last_use[name] == i and name != INPUT}:
            del values[name]
    return program.float_logits(values[LOGITS])


def _run(
    program: Program, i: int, values: dict[str, Value], read: Features, parts: Parts, first: int, block: int
) -> Value:
    """Operation i for one block of nodes."""
    last = min(first + block, parts.graph.num_nodes)
    operation: Operation = program.operations[i]
    reads_edges = isinstance(operation, Aggregate | Attention | DynamicAttention)
    graph, nodes = parts.block(first, last) if reads_edges else parts.rows(first, last)
    given: dict[str, Value] = {}
    for name in inputs(operation):
        if name == INPUT:
            x = given[name] = read(nodes)
            program.check_features(x)
            if len(x) != len(nodes):  # kernels read a row for each node
                raise DataError(f"features must give a row for each of {len(nodes)} nodes, got {len(x)}")
        else:
            given[name] = _rows(values[name], nodes)
    return _rows(program.steps[i].run(given, graph), slice(0, last - first))


def _rows(value: Value, rows: Tensor | slice) -> Value:
    if isinstance(value, Tensor):
        return value[rows].clone()
    numbers = None if value.numbers is None else value.numbers[rows].contiguous()
    return replace(value, data=value.data[rows].contiguous(), numbers=numbers)


def _joined(made: list[Value]) -> Value:
    """Blocks of rows, one after the other."""
    first = made[0]
    if isinstance(first, Tensor):
        return torch.cat([each for each in made if isinstance(each, Tensor)])
    codes = [each for each in made if isinstance(each, Codes)]
    numbers = None if first.numbers is None else torch.cat([each.numbers for each in codes if each.numbers is not None])
    return replace(first, data=torch.cat([each.data for each in codes]), numbers=numbers)
