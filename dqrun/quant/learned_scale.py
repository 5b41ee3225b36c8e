"""`LearnedScale`: a step size that is trained (LSQ: Esser et al., ICLR 2020)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class LearnedScale(nn.Module):
    """The scale of a grid as a parameter, and the zero point it began with.

    The parameter is the logarithm of the scale (Jain et al., MLSys 2020): Adam moves each parameter by about the
    learning rate, whatever the size of its gradient, and scales of 0.01 would not survive that. So a scale changes by a
    share of itself and stays positive.

    Parameter `log_scale`: float32 0-d, NaN until `begin`. Buffer `zero_point`: int32 0-d.
    """

    zero_point: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(torch.nan))
        self.register_buffer("zero_point", torch.tensor(0, dtype=torch.int32))
        self._begun: bool | None = False
        self.register_load_state_dict_post_hook(_forget)  # type: ignore[no-untyped-call]

    @property
    def begun(self) -> bool:
        """Whether there is a scale; reads the device once after a state was loaded."""
        if self._begun is None:
            self._begun = not bool(self.log_scale.isnan())
        return self._begun

    @torch.no_grad()
    def begin(self, scale: Tensor, zero_point: Tensor) -> None:
        """Sets the first scale (float32 0-d, > 0) and the zero point (int32 0-d)."""
        self.log_scale.copy_(scale.log())
        self.zero_point.copy_(zero_point)
        self._begun = True

    def scale(self, gradient_scale: float) -> Tensor:
        """The scale, float32 0-d; in training its gradient is multiplied by `gradient_scale` on the way back."""
        scale = self.log_scale.exp()
        if not self.training:
            return scale.detach()
        if scale.requires_grad:
            scale.register_hook(lambda gradient: gradient * gradient_scale)  # type: ignore[no-untyped-call]
        return scale


def _forget(step: nn.Module, _: Any) -> None:
    assert isinstance(step, LearnedScale)
    step._begun = None
