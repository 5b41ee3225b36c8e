"""Values of codes in an ONNX graph: reading and writing.

The graph stores a value as the codes of its site, uint8, under the site's name: the output of a QuantizeLinear or, for
categories, of a Gather. A DequantizeLinear, one for all uses, computes code - zero point. The scale of both is 1:
numbers are in steps of a grid, which float32 represents exactly, and the grid's scale is part of the next multiplier,
as in the program.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dqrun.errors import ConfigError
from dqrun.integer.onnx.builder import Builder
from dqrun.kernels.integer import CodeGrid, Grid, RowGrid

UINT8_TOP = 255


def code_grid(name: str, grid: Grid) -> CodeGrid:
    """The grid of a value; raises ConfigError for a grid per row, which ONNX models do not support."""
    if isinstance(grid, RowGrid):
        rule = "have one range for all rows in an ONNX form: train with quant.activation_granularity=tensor"
        raise ConfigError.rule(name, rule, "ranges of rows")
    return grid


@dataclass(frozen=True)
class Coded:
    """A value: the name of its codes, their grid, and its channels."""

    name: str
    grid: CodeGrid
    channels: int


class Values:
    """The values so far, by name, and their conversions; nodes for a conversion are added at its first use."""

    def __init__(self, build: Builder) -> None:
        self.build = build
        self.coded: dict[str, Coded] = {}
        self._forms: dict[tuple[str, str], str] = {}

    def steps(self, name: str) -> str:
        """code - zero point, float32 [R, C]."""
        key = (name, "float32")
        if key not in self._forms:
            one, zero_point = self._grid(self.coded[name].grid)
            self._forms[key] = self.build.op("DequantizeLinear", name, one, zero_point)
        return self._forms[key]

    def whole(self, name: str) -> str:
        """code - zero point, int32 [R, C]."""
        return self._cast(name, np.int32)

    def real(self, name: str) -> str:
        """code - zero point, float64 [R, C]."""
        return self._cast(name, np.float64)

    def quantized(self, steps: str, value: Coded) -> None:
        """Adds a value from numbers in steps of its grid, float32 [R, C]."""
        build, grid = self.build, value.grid
        if grid.top < UINT8_TOP:
            bounds = (build.constant(bound - grid.zero_point, np.float32) for bound in (0, grid.top))
            steps = build.op("Clip", steps, *bounds)
        build.op("QuantizeLinear", steps, *self._grid(grid), name=value.name)
        self.coded[value.name] = value

    def _cast(self, name: str, dtype: type) -> str:
        key = (name, dtype.__name__)
        if key not in self._forms:
            self._forms[key] = self.build.cast(self.steps(name), dtype)
        return self._forms[key]

    def _grid(self, grid: CodeGrid) -> tuple[str, str]:
        return self.build.constant(1, np.float32), self.build.constant(grid.zero_point, np.uint8)
