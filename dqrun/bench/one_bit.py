"""Programs of one bit, only for measuring time: no method trains one-bit activations that a program can store."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from dqrun.integer import Program
from dqrun.integer.operations import Operation
from dqrun.kernels.integer import CodeGrid, Codes, Epilogue, Grid, RowGrid, Weight


def of_one_bit(program: Program) -> Program:
    """The same operations with codes 0 and 1, the ends of each grid, and weights -1 and 1, the signs of codes."""
    return replace(program, operations=tuple(_narrowed(operation) for operation in program.operations))


def _narrowed(operation: Operation) -> Operation:
    changed: dict[str, Any] = {}
    for name, value in vars(operation).items():
        if isinstance(value, Weight):
            changed |= {name: Weight(torch.where(value.codes < 0, -1, 1).to(torch.int8)), f"{name}_bits": 1}
        elif isinstance(value, Epilogue) and value.grid is not None:
            changed[name] = replace(value, grid=_grid(value.grid))
        elif isinstance(value, CodeGrid | RowGrid):
            changed[name] = _grid(value)
        elif isinstance(value, Codes):
            upper = value.unpack() > value.grid.top // 2
            changed[name] = Codes.of(upper, _grid(value.grid), value.numbers)
    return replace(operation, **changed)


def _grid(grid: Grid) -> Grid:
    if isinstance(grid, RowGrid):
        return replace(grid, bits=1, spare=0)
    return CodeGrid(1, grid.scale * grid.top, int(grid.zero_point > grid.top // 2))
