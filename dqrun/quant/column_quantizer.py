"""`ColumnQuantizer`: a quantiser of a tensor whose columns are multiplied by factors first, and divided afterwards."""

from __future__ import annotations

import torch
from torch import Tensor

from dqrun import kernels
from dqrun.kernels import R
from dqrun.quant.quantizer import Quantizer
from dqrun.quant.scales import Phase


class ColumnQuantizer(Quantizer):
    """Q(x diag(factor)) diag(factor)^-1 of rows [N, C], for a quantiser Q.

    Used in pairs: the columns of an operand have factors, the columns of its weight the reciprocal factors. The exact
    product is the same; the values that are rounded differ.

    Buffer `factor`: float32, > 0, at first 1: [C], or [C, 1] for a weight that is kept transposed.
    """

    factor: Tensor

    def __init__(self, plain: Quantizer, shape: tuple[int, ...]) -> None:
        """`plain`: Q; its scales, rounding and centring are shared, not copied. `shape`: of the factors."""
        super().__init__(plain.scales, plain.rounding, plain.protects, plain.name, plain.centring)
        self.register_buffer("factor", torch.ones(shape))

    @property
    def has_codes(self) -> bool:
        return False

    def forward(
        self, x: R, protected: Tensor | None = None, multiplicity: Tensor | None = None, relu: bool = False
    ) -> R:
        if self.phase is Phase.BYPASS:
            return super().forward(x, protected, multiplicity, relu)
        scaled = kernels.times_columns(x, self.factor)
        return kernels.times_columns(super().forward(scaled, protected, multiplicity, relu), self.factor.reciprocal())

    def round(self, x: R) -> R:
        return kernels.times_columns(super().round(kernels.times_columns(x, self.factor)), self.factor.reciprocal())
