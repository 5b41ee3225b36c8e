"""`Epilogue`: the computation after an integer sum, from its real value to a code (the rule of requantisation)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from dqrun.errors import ConfigError
from dqrun.kernels.integer.codes import CodeGrid, Codes, Grid
from dqrun.kernels.integer.row_grid import RowGrid

ACTIVATIONS = ("none", "relu", "elu")


@dataclass(frozen=True)
class Epilogue:
    """From the exact sum `acc` of row i and channel c to the result, in float64, each line rounded once:

        v = acc * row_scale[i]                                 if given (GCN's d^-1/2, a scale of the row's codes)
        v = v + row_term[i] * channel_term[c]                  if given (row_term: the number of the row's code 0)
        v = v * multiplier[c]
        v = v + bias[c]                                        if given
        v = max(v, 0)                                          if pre_relu
        v = v * gain[c];  v = v + offset[c]                    if given (a batch norm)
        v = max(v, 0) | elu(v) | v                             activation
        v = v + (residual[i, c] - its zero point) * its scale  if given (the product rounded, then the sum)

    where a residual with a grid for each row adds scale * code + lowest of the row (`Codes.row_numbers`), rounded once
    after the product and once after the sum. Then, with a `CodeGrid`, code = clamp(rint(v * inverse_scale) +
    zero_point, 0, top), where rint rounds half to even and inverse_scale = 1 / scale in float64; without a grid, v is
    rounded to float32. elu(v) = exp(v) - 1 below zero; exp is the sequence of operations in `reference.exp`. Every
    version does exactly these operations.

    With a `CodeGrid`, without an ELU, and if no value has a grid for each row, v is in steps of the grid instead: the
    lines are those of `folded`, a residual's scale is rounded(scale * inverse_scale), and code = clamp(rint(v) +
    zero_point, 0, top). With a `RowGrid` v is rounded to float32, and codes and numbers of the row are those of
    `RowGrid.encode`.

    `multiplier`, `bias`, `gain`, `offset`, `channel_term`: float64 [C]; `multiplier` also [1]. `row_scale`, `row_term`:
    float64 [N]. `residual`: Codes [N, C]. Fields with N rows belong to a batch: set them with `dataclasses.replace`.
    """

    multiplier: Tensor
    row_scale: Tensor | None = None
    row_term: Tensor | None = None
    channel_term: Tensor | None = None
    bias: Tensor | None = None
    pre_relu: bool = False
    gain: Tensor | None = None
    offset: Tensor | None = None
    activation: str = "none"
    residual: Codes | None = None
    grid: Grid | None = None

    def __post_init__(self) -> None:
        if self.activation not in ACTIVATIONS:
            raise ConfigError.rule("epilogue.activation", f"be one of {', '.join(ACTIVATIONS)}", self.activation)
        if (self.gain is None) != (self.offset is None):
            raise ConfigError("epilogue.gain and epilogue.offset must be given together, got one of them")
        if (self.row_term is None) != (self.channel_term is None):
            raise ConfigError("epilogue.row_term and epilogue.channel_term must be given together, got one of them")
        for name in ("multiplier", "row_scale", "row_term", "channel_term", "bias", "gain", "offset"):
            value: Tensor | None = getattr(self, name)
            if value is not None and (value.dtype != torch.float64 or value.dim() != 1):
                raise ConfigError.rule(f"epilogue.{name}", "be float64 [C]", f"{value.dtype} {list(value.shape)}")

    @property
    def in_steps(self) -> bool:
        """Whether v is in steps of the grid."""
        rows = self.row_term is not None or (self.residual is not None and isinstance(self.residual.grid, RowGrid))
        return isinstance(self.grid, CodeGrid) and self.activation != "elu" and not rows

    @cached_property
    def folded(self) -> Epilogue:
        """The epilogue that is computed: v in steps of a `CodeGrid`, gain and multiplier merged if possible.

        Without `pre_relu`, multiplier * gain and bias * gain + offset replace multiplier, bias, gain and offset. Then
        the last factor and the last term are multiplied by inverse_scale. Each operation is rounded once, in float64.
        """
        by_rows = isinstance(self.grid, RowGrid)
        if not (self.in_steps or by_rows):
            return self
        inverse = 1 / self.grid.scale if isinstance(self.grid, CodeGrid) else 1.0
        factor, term = self.multiplier, self.bias
        if self.gain is not None and self.offset is not None:
            if self.pre_relu:
                return replace(self, gain=self.gain * inverse, offset=self.offset * inverse)
            factor, term = factor * self.gain, self.offset if term is None else term * self.gain + self.offset
        term = None if term is None else term * inverse
        return replace(self, multiplier=factor * inverse, bias=term, gain=None, offset=None)

    @property
    def residual_step(self) -> float:
        """The value in v of one step of the residual's codes."""
        if self.residual is None or not isinstance(self.residual.grid, CodeGrid):
            return 1.0
        scale = self.residual.grid.scale
        return scale * (1 / self.grid.scale) if isinstance(self.grid, CodeGrid) and self.in_steps else scale

    def of_rows(self, x: Codes, channel_term: Tensor | None = None) -> Epilogue:
        """The epilogue of sums of x's codes, where x may have a grid for each row.

        Sums of row i are then multiplied by the row's scale, and channel_term[c], float64 [C] (the sum of an output's
        weights), times the number of the row's code 0 is added; channel_term None: the sums include it already.
        """
        if not isinstance(x.grid, RowGrid):
            return self
        scale, lowest = x.row_numbers
        if self.row_scale is not None:
            scale, lowest = scale * self.row_scale, lowest * self.row_scale
        if channel_term is None:
            return replace(self, row_scale=scale)
        return replace(self, row_scale=scale, row_term=lowest, channel_term=channel_term)
