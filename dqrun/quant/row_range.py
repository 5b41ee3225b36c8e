"""`RowRange`: scales from each row's own range; `LearnedRowFactor`: the same times a learned factor."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import torch
from torch import Tensor, nn

from dqrun import kernels
from dqrun.quant.rounding import UniformRounding
from dqrun.quant.scales import Quantizable, ScaleProvider
from dqrun.quant.spec import QuantSpec, Scales
from dqrun.quant.values import Values

T = TypeVar("T")


class RowRange(ScaleProvider):
    """The minimum and maximum of each row, or of each group of `spec.granularity.size` neighbouring elements of a row.

    They are computed from the row itself, in training and in evaluation. Nothing is observed or kept, and a node of
    high degree does not widen the ranges of other nodes. Scales are [N, 1, ...], or of the tensor's shape for groups.
    `QuantSpec.offset` says where zero lies; for sparse rows zero is always a whole number of steps away.
    """

    def forward(self, tensor: Quantizable[object]) -> Scales:
        return self.scales(tensor, *kernels.row_extremes(tensor.x, self.spec.granularity.size))

    def scales(self, tensor: Quantizable[object], low: Tensor, high: Tensor) -> Scales:
        """The scales that cover [low, high], float32 that broadcast to the tensor."""
        grid = self.spec.grid
        return Scales(*(grid if isinstance(tensor.x, Tensor) else grid.with_zero()).scales(low, high))

    def rounded(self, tensor: Quantizable[T], rounding: Callable[[Quantizable[T], Scales], T]) -> T:
        """As `ScaleProvider.rounded`; for `UniformRounding` of a tensor in one pass."""
        if isinstance(rounding, UniformRounding) and isinstance(tensor, Values):
            return cast(T, rounding.round_rows(tensor))
        return super().rounded(tensor, rounding)


class LearnedRowFactor(RowRange):
    """`RowRange` whose ranges are multiplied by a learned factor, about their middle; one factor for all rows.

    A scale for each row of each graph cannot be a parameter; the common factor can. It learns how much is clipped, as
    LSQ does (Esser et al., ICLR 2020): its gradient comes through the scales and is multiplied by 1 / sqrt(n qmax), n
    the number of elements of the tensor.

    Parameter `log_factor`: float32 0-d, the factor's logarithm, 0 at first.
    """

    def __init__(self, spec: QuantSpec) -> None:
        super().__init__(spec)
        self.log_factor = nn.Parameter(torch.zeros(()))

    def forward(self, tensor: Quantizable[object]) -> Scales:
        low, high = kernels.row_extremes(tensor.x, self.spec.granularity.size)
        factor = self.log_factor.exp()
        fixed = factor.detach()
        half, middle = (high - low) / 2 * fixed, (low + high) / 2
        found = self.scales(tensor, middle - half, middle + half)
        if not self.training or not factor.requires_grad:
            return found
        slope = (self.ranks.total(tensor.count) * max(1, self.spec.qmax)) ** -0.5
        factor.register_hook(lambda gradient: gradient * slope)  # type: ignore[no-untyped-call]
        return found._replace(scale=found.scale * (factor / fixed))

    def rounded(self, tensor: Quantizable[T], rounding: Callable[[Quantizable[T], Scales], T]) -> T:
        return rounding(tensor, self(tensor))
