"""The lower bound of a run's time by memory traffic: bytes that a network must move, over the bandwidth of a copy."""

from __future__ import annotations

import time

import torch

from dqrun.graphs import Graph
from dqrun.integer import Program
from dqrun.integer.operations import Aggregate, Attention, Linear, Lookup, Operation, Readout, result_channels
from dqrun.kernels.integer import Grid, RowGrid

COPIED_BYTES = 2**28
INDEX_BYTES = 8  # int64: sources of edges in the FP32 network, row pointers, categories
SHORT_INDEX_BYTES = 4  # sources of edges in a program
FLOAT_BYTES = 4


def copy_bandwidth(repeats: int = 5) -> float:
    """Bytes read and written per second by the fastest of `repeats` copies of 256 MiB, with torch's threads."""
    source = torch.ones(COPIED_BYTES // FLOAT_BYTES)  # pages of zeros may share one page of memory, which a cache holds
    target = torch.empty_like(source)
    target.copy_(source)
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        target.copy_(source)
        seconds.append(time.perf_counter() - started)
    return 2 * COPIED_BYTES / min(seconds)


def moved_bytes(program: Program, graph: Graph, floats: bool) -> int:
    """Bytes that the operations of a program read and write, each value once, but a neighbour's row once per edge.

    `floats`: all values and weights as float32, for the FP32 network of the same shape. The count
    ignores caches; it includes the input features.
    """
    grids: dict[str, Grid | None] = {}
    widths = {"x": program.signature.in_channels}
    rows, total = graph.num_nodes, 0
    for operation in program.operations:
        grids[operation.target] = None if floats else _grid(operation)
        widths[operation.target] = result_channels(operation)
        read = rows
        if isinstance(operation, Aggregate | Attention):
            read = graph.csr.num_edges
            total += (INDEX_BYTES if floats else SHORT_INDEX_BYTES) * read + INDEX_BYTES * rows
        total += read * row_bytes(grids.get(operation.source), widths[operation.source])
        residual = getattr(operation, "residual", "")
        total += rows * row_bytes(grids[residual], widths[residual]) if residual else 0
        rows = graph.num_graphs if isinstance(operation, Readout) else rows
        total += rows * row_bytes(grids[operation.target], widths[operation.target])
        if isinstance(operation, Linear):
            total += operation.weight.codes.numel() * (FLOAT_BYTES if floats else 1)
    return total


def row_bytes(grid: Grid | None, channels: int) -> int:
    """Bytes of one row of a value; grid None: float32 (or, without channels, one category as int64)."""
    if grid is not None:
        return grid.row_bytes(channels) + (grid.number_bytes if isinstance(grid, RowGrid) else 0)
    return FLOAT_BYTES * channels or INDEX_BYTES


def _grid(operation: Operation) -> Grid | None:
    from dqrun.integer.operations import result_grid

    return operation.table.grid if isinstance(operation, Lookup) else result_grid(operation)
