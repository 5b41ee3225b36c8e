"""`Rounding`: how numbers become values of a grid whose scales are known."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import nn

from dqrun import kernels
from dqrun.errors import ConfigError
from dqrun.kernels import R
from dqrun.quant.scales import Quantizable
from dqrun.quant.spec import QuantSpec, Scales
from dqrun.quant.values import Values

T = TypeVar("T")


class Rounding(nn.Module):
    """Rounds to the grid of `spec` and back, with a gradient of its own choice.

    `codes_of_spec`: whether values are those of `spec.encode`, with which an integer program computes.
    """

    codes_of_spec = False

    def __init__(self, spec: QuantSpec) -> None:
        super().__init__()
        self.spec = spec

    @property
    def noisy(self) -> bool:
        """Whether the next call would leave random elements exact: equal numbers then give different ones."""
        return False

    def forward(self, tensor: Quantizable[T], scales: Scales) -> T:
        """What the tensor gives, its numbers rounded."""
        raise NotImplementedError


class UniformRounding(Rounding):
    """To the nearest of equidistant values, half to even.

    `estimator` is the gradient of rounding (see `kernels.fake_quantize`): "ste", "clipped" or "clipped_ends".
    `noise_rate` < 1 is quantisation noise (Fan et al. 2021): a training step quantises each element with this
    probability; `generator`, of the CPU, seeds the draws.
    """

    codes_of_spec = True

    def __init__(
        self,
        spec: QuantSpec,
        estimator: str = "ste",
        noise_rate: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(spec)
        if spec.bits < 2:
            raise ConfigError.rule("spec.bits", "be in 2..8 for uniform rounding", spec.bits)
        self.estimator, self.noise_rate, self.generator = estimator, noise_rate, generator

    @property
    def noisy(self) -> bool:
        return self.training and self.noise_rate < 1.0

    def forward(self, tensor: Quantizable[T], scales: Scales) -> T:
        return tensor.fake_quantize(scales, self.spec, self.estimator, self._draw_noise())

    def round_rows(self, tensor: Values[R]) -> R:
        """The same with the scales that rows take from themselves: see `RowRange`."""
        return tensor.fake_quantize_rows(self.spec, self.estimator, self._draw_noise())

    def _draw_noise(self) -> kernels.Noise | None:
        """Which elements of the next tensor are to be rounded; None: all."""
        if not self.noisy:
            return None
        low, high = torch.randint(2**32, (2,), generator=self.generator).tolist()
        return kernels.Noise(self.noise_rate, low, high)

    def extra_repr(self) -> str:
        return f"{self.spec}, estimator={self.estimator}, noise_rate={self.noise_rate}"
