"""`LearnedScale`: scales that are trained (LSQ: Esser et al., ICLR 2020)."""

from __future__ import annotations

import torch
from torch import Tensor

from dqrun.kernels.grid_of_range import SMALLEST_SCALE
from dqrun.quant.learned import Learned, Start
from dqrun.quant.scales import Phase, Quantizable
from dqrun.quant.spec import Scales


class LearnedScale(Learned):
    """The scale of a grid, or one per channel, as a parameter, with a zero point that does not change.

    First values: scale and zero point of the range that `start` has observed, taken in the first training step of
    `Phase.QUANTIZE` by which a value other than zero was seen. From then on nothing is observed; the zero point stays.
    With `from_mean`, for weights, the first scale is 2 mean|x| / sqrt(qmax) with zero point 0 (LSQ, section 2.1); on a
    sign grid mean|x|, which minimises the squared error. A channel whose first scale would be zero gets the mean of the
    other channels' scales.

    The parameter is the logarithm of the scale (Jain et al., MLSys 2020): Adam moves each parameter by about the
    learning rate, whatever the size of its gradient, which is too much for a scale of about 0.01. With the logarithm a
    scale changes by a share of itself and stays positive. Its gradient is multiplied by 1 / sqrt(n qmax), n the number
    of elements that share the scale (LSQ, section 2.2).

    Parameter `log_scale`: float32 of the scales' shape, NaN until it begins. Buffer `zero_point`: int32, same shape.
    """

    parameter = "log_scale"
    log_scale: Tensor
    zero_point: Tensor

    def __init__(self, start: Start, from_mean: bool = False, scales_gradient: bool = True) -> None:
        """`scales_gradient` False: the gradient is not multiplied by 1 / sqrt(n qmax)."""
        super().__init__(start)
        self.from_mean, self.scales_gradient = from_mean, scales_gradient
        self.register_buffer("zero_point", torch.zeros(start.scale_shape, dtype=torch.int32))

    @torch.no_grad()
    def observe(self, tensor: Quantizable[object], phase: Phase) -> bool:
        if self.begun or not self.start.observe(tensor, phase):
            return False
        if phase is Phase.QUANTIZE and self.training:
            if self.from_mean:
                self._begin_from_mean(tensor)
            elif self.start.has_seen_nonzero:
                self._begin(self.start.fixed())
        return True

    def _begin_from_mean(self, tensor: Quantizable[object]) -> None:
        assert isinstance(tensor.x, Tensor)
        size, shape = tensor.x.abs(), self.log_scale.shape
        mean = size.sum_to_size(shape) / (size.numel() // self.log_scale.numel()) if shape else size.mean()
        first = mean if self.spec.is_sign else 2 * mean / self.spec.qmax**0.5
        self._begin(Scales(first, torch.zeros_like(self.zero_point)))

    def _begin(self, first: Scales) -> None:
        """Takes the first scales (float32, >= 0) and zero points, unless all scales are too small to divide by."""
        large = first.scale > SMALLEST_SCALE
        if bool(large.any()):
            self.zero_point.copy_(first.zero_point)
            self.begin(torch.where(large, first.scale, first.scale[large].mean()).log())

    def forward(self, tensor: Quantizable[object]) -> Scales:
        if not self.begun:
            return self.start(tensor)
        scale = self.log_scale.exp()
        if not self.training:
            return Scales(scale.detach(), self.zero_point)
        if scale.requires_grad and self.scales_gradient:
            factor = (self.ranks.total(tensor.count) // scale.numel() * self.spec.qmax) ** -0.5
            scale.register_hook(lambda gradient: gradient * factor)  # type: ignore[no-untyped-call]
        return Scales(scale, self.zero_point)

    def fixed(self) -> Scales:
        return Scales(self.log_scale.detach().exp(), self.zero_point) if self.begun else self.start.fixed()

    def ends(self) -> Tensor:
        """The two ends of each grid, float32 [2, ...], with gradient; the scale must have begun."""
        codes = torch.stack([self.spec.qmin - self.zero_point, self.spec.qmax - self.zero_point])
        return self.log_scale.exp() * codes
