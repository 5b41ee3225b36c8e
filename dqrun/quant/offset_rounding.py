"""`OffsetRounding`: grids that need not contain zero."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor

from dqrun.quant.rounding import Rounding
from dqrun.quant.scales import Quantizable
from dqrun.quant.shares import SAMPLE
from dqrun.quant.spec import QuantSpec, Scales

T = TypeVar("T")


class OffsetRounding(Rounding):
    """Rounds to scale (k - zero_point), k from 0 to the number of steps of the spec, with a real zero point.

    Gradients inside the range are straight-through: 1 to x, k - zero_point - x / scale to the scale. Beyond the range:
    0 to x, k - zero_point with k the end code to the scale. If zero is not on the grid, sparse rows become dense.

    `fine_steps`: None, or the number of steps of a finer grid to which x is rounded first (255 for 256 codes).
    `skewed`: the skewness of the numbers of the last training step, rounded, is added to the fine code before it is
    rounded to k (BT*).

    Buffer `skewness`: float32 0-d.
    """

    skewness: Tensor

    def __init__(self, spec: QuantSpec, fine_steps: int | None = None, skewed: bool = False) -> None:
        super().__init__(spec)
        self.steps, self.fine_steps, self.skewed = spec.qmax - spec.qmin, fine_steps, skewed
        self.register_buffer("skewness", torch.zeros(()))

    def forward(self, tensor: Quantizable[T], scales: Scales) -> T:
        if self.skewed and self.training:
            self.skewness.copy_(rounded_skewness(self.ranks.joined(tensor.sample(SAMPLE))))
        return tensor.mapped(lambda x: self.rounded(x, scales), self._keeps_zero(tensor, scales))

    @torch.no_grad()
    def _keeps_zero(self, tensor: Quantizable[T], scales: Scales) -> bool:
        """Whether zero stays zero, which matters for sparse rows alone (a range of a bag of words begins at 0)."""
        if isinstance(tensor.x, Tensor):
            return False
        return not bool(self.rounded(torch.zeros_like(tensor.x.values[:1]), scales).any())

    def rounded(self, x: Tensor, scales: Scales) -> Tensor:
        """Float32 x on the grid, same shape."""
        scale, zero_point, _ = scales
        place = (x / scale + zero_point).clamp(0, self.steps)
        return (place + (self._code(place) - place).detach() - zero_point) * scale

    def _code(self, place: Tensor) -> Tensor:
        """The code nearest to a real position on the grid, from 0 to `steps`."""
        if self.fine_steps is None:
            return place.detach().round()
        ratio = self.fine_steps / self.steps
        fine = (place.detach() * ratio).round() + (self.skewness if self.skewed else 0.0)
        return (fine / ratio).round().clamp(0, self.steps)

    def extra_repr(self) -> str:
        return f"{self.spec}, fine_steps={self.fine_steps}, skewed={self.skewed}"


def rounded_skewness(x: Tensor) -> Tensor:
    """The third standardised moment of a 1-d tensor, to the nearest integer; 0 where all elements are equal."""
    centred = x - x.mean()
    deviation = centred.square().mean().sqrt()
    skewness = centred.pow(3).mean() / deviation.pow(3)
    return skewness.nan_to_num(0.0, 0.0, 0.0).round()
