"""`LearnedScale`: scales that are trained (LSQ: Esser et al., ICLR 2020)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from dqrun.kernels.grid_of_range import SMALLEST_SCALE
from dqrun.quant.observer import RangeObserver
from dqrun.quant.scales import Phase, Quantizable, ScaleProvider
from dqrun.quant.spec import Scales


class LearnedScale(ScaleProvider):
    """The scale of a grid, or one of each channel, as a parameter, and the zero point it began with.

    It begins as the scale and zero point of `start`, the range that was observed up to the first training step of
    `Phase.QUANTIZE` that has seen more than zeros; from then on nothing is observed and the zero point stays.
    `from_mean`, for weights: it begins as 2 mean|x| / sqrt(qmax) instead, with zero point 0 (LSQ, section 2.1). A
    channel whose own scale would be zero begins with the mean of the others'.

    The parameter is the logarithm of the scale (Jain et al., MLSys 2020): Adam moves each parameter by about the
    learning rate, whatever the size of its gradient, and scales of 0.01 would not survive that. So a scale changes by a
    share of itself and stays positive. Its gradient is scaled by 1 / sqrt(n qmax), n the elements that share the scale
    (LSQ, section 2.2).

    Parameter `log_scale`: float32 of the scales' shape, NaN until it begins. Buffer `zero_point`: int32, same shape.
    """

    zero_point: Tensor

    def __init__(self, start: RangeObserver, from_mean: bool = False) -> None:
        super().__init__(start.spec)
        self.start, self.from_mean = start, from_mean
        self.log_scale = nn.Parameter(torch.full_like(start.low, torch.nan))
        self.register_buffer("zero_point", torch.zeros_like(start.low, dtype=torch.int32))
        self._begun: bool | None = False
        self.register_load_state_dict_post_hook(_forget)  # type: ignore[no-untyped-call]

    @property
    def begun(self) -> bool:
        """Whether there is a learned scale; reads the device once after a state was loaded."""
        if self._begun is None:
            self._begun = not bool(self.log_scale.isnan().any())
        return self._begun

    @property
    def ready(self) -> bool:
        return self.begun or self.start.ready

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
        self._begin(Scales(2 * mean / self.spec.qmax**0.5, torch.zeros_like(self.zero_point)))

    def _begin(self, first: Scales) -> None:
        """Takes the first scales (float32, >= 0) and zero points, unless all scales are too small to divide by."""
        large = first.scale > SMALLEST_SCALE
        if bool(large.any()):
            self.log_scale.copy_(torch.where(large, first.scale, first.scale[large].mean()).log())
            self.zero_point.copy_(first.zero_point)
            self._begun = True

    def forward(self, tensor: Quantizable[object]) -> Scales:
        if not self.begun:
            return self.start(tensor)
        scale = self.log_scale.exp()
        if not self.training:
            return Scales(scale.detach(), self.zero_point)
        if scale.requires_grad:
            factor = (tensor.count // scale.numel() * self.spec.qmax) ** -0.5
            scale.register_hook(lambda gradient: gradient * factor)  # type: ignore[no-untyped-call]
        return Scales(scale, self.zero_point)

    def fixed(self) -> Scales:
        return Scales(self.log_scale.detach().exp(), self.zero_point) if self.begun else self.start.fixed()


def _forget(learned: nn.Module, _: Any) -> None:
    assert isinstance(learned, LearnedScale)
    learned._begun = None
