"""`RowRange`: scales that each row of a tensor takes from itself; `LearnedRowFactor`: a share of them, learned."""

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
    """The range of each row, or of each `spec.granularity.size` neighbouring elements of one: least and largest.

    It comes from the row itself, in training and in evaluation alike: nothing is observed, nothing is kept, and a node
    of many edges stretches no other node's range. Scales are [N, 1, ...], or of the tensor's shape for groups. Where
    zero lies, `QuantSpec.offset` says; on the grids of sparse rows it always has a code.
    """

    def forward(self, tensor: Quantizable[object]) -> Scales:
        return self.scales(tensor, *kernels.row_extremes(tensor.x, self.spec.granularity.size))

    def scales(self, tensor: Quantizable[object], low: Tensor, high: Tensor) -> Scales:
        """The scales that cover [low, high], float32 that broadcast to the tensor."""
        grid = self.spec.grid
        return Scales(*(grid if isinstance(tensor.x, Tensor) else grid.with_zero()).scales(low, high))

    def rounded(self, tensor: Quantizable[T], rounding: Callable[[Quantizable[T], Scales], T]) -> T:
        """In one pass over the tensor, where rounding is that to equidistant values."""
        if isinstance(rounding, UniformRounding) and isinstance(tensor, Values):
            return cast(T, rounding.round_rows(tensor))
        return super().rounded(tensor, rounding)


class LearnedRowFactor(RowRange):
    """`RowRange`, of which a share about the middle of each range counts: the factor is a parameter, one for all rows.

    So learned scales (LSQ: Esser et al., ICLR 2020) go with scales that no parameter can be, since each row of each
    graph has its own: what is learned is how much is cut off. Its gradient is LSQ's, through the scales, scaled by
    1 / sqrt(n qmax), n the elements of the tensor.

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
