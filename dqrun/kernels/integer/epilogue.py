"""`Epilogue`: what follows an integer sum, and how its real value becomes a code again (the rule of requantisation)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dqrun.errors import ConfigError
from dqrun.kernels.integer.codes import CodeGrid, Codes

ACTIVATIONS = ("none", "relu", "elu")


@dataclass(frozen=True)
class Epilogue:
    """From the exact sum `acc` of row i and channel c to the result, in float64, each line rounded once:

        v = acc * multiplier[c]
        v = v * row_scale[i]                                   if given (GCN's d^-1/2)
        v = v + bias[c]                                        if given
        v = max(v, 0)                                          if pre_relu
        v = v * gain[c];  v = v + offset[c]                    if given (a batch norm behind a ReLU)
        v = max(v, 0) | elu(v) | v                             activation
        v = v + (residual[i, c] - its zero point) * its scale  if given (the product rounded, then the sum)

    and then, with a grid, code = clamp(rint(v * inverse_scale) + zero_point, 0, 2^bits - 1), where rint takes half to
    even and inverse_scale = 1 / scale in float64; without a grid, v rounded to float32. elu(v) = exp(v) - 1 below zero,
    exp being the sequence of operations in `reference.exp`. Every version does these operations and no others.

    `multiplier`, `bias`, `gain`, `offset`: float64 [C]; `multiplier` also [1]. `row_scale`: float64 [N]. `residual`:
    Codes [N, C]. `row_scale` and `residual` belong to a batch: add them with `dataclasses.replace`.
    """

    multiplier: Tensor
    row_scale: Tensor | None = None
    bias: Tensor | None = None
    pre_relu: bool = False
    gain: Tensor | None = None
    offset: Tensor | None = None
    activation: str = "none"
    residual: Codes | None = None
    grid: CodeGrid | None = None

    def __post_init__(self) -> None:
        if self.activation not in ACTIVATIONS:
            raise ConfigError.rule("epilogue.activation", f"be one of {', '.join(ACTIVATIONS)}", self.activation)
        if (self.gain is None) != (self.offset is None):
            raise ConfigError("epilogue.gain and epilogue.offset must be given together, got one of them")
        for name in ("multiplier", "row_scale", "bias", "gain", "offset"):
            value: Tensor | None = getattr(self, name)
            if value is not None and (value.dtype != torch.float64 or value.dim() != 1):
                raise ConfigError.rule(f"epilogue.{name}", "be float64 [C]", f"{value.dtype} {list(value.shape)}")
