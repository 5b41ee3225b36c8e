"""`Rounding`: rounds numbers to a grid whose scales are known."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn

from dqrun import kernels
from dqrun.errors import ConfigError
from dqrun.kernels import R
from dqrun.quant.scales import Quantizable
from dqrun.quant.spec import QuantSpec, Scales
from dqrun.quant.values import Values
from dqrun.ranks.alone import ALONE, Ranks

T = TypeVar("T")
Flip = Callable[[Tensor, int], Tensor]
"""Changes codes, int64 of any shape, from 0 to 2^bits - 1."""


class Rounding(nn.Module):
    """Rounds to the grid of `spec` and back; a subclass defines the gradient.

    `codes_of_spec`: whether the output equals `spec.decode(self.encode(x))`, as an integer program requires.
    """

    codes_of_spec = False
    ranks: Ranks = ALONE
    """The processes that share the batch."""

    def __init__(self, spec: QuantSpec) -> None:
        super().__init__()
        self.spec = spec

    @property
    def noisy(self) -> bool:
        """Whether the next call leaves random elements in FP32, so that equal inputs may have different outputs."""
        return False

    def forward(self, tensor: Quantizable[T], scales: Scales) -> T:
        """The tensor with rounded numbers."""
        raise NotImplementedError

    def encode(self, x: Tensor, scales: Scales) -> Tensor:
        """Codes of float32 x, int32, same shape; `spec.decode` turns them into the rounded values."""
        return self.spec.encode(x, scales)

    @torch.no_grad()
    def flipped(self, x: Tensor, scales: Scales, flip: Flip) -> Tensor:
        """x after rounding to codes, bit flips in the codes by `flip` (memory faults), and decoding; same shape.

        Raises ConfigError for a rounding without codes.
        """
        spec = self.spec
        if not self.codes_of_spec:
            raise ConfigError(f"{type(self).__name__} has no codes whose bits could be flipped")
        codes = self.encode(x, scales).long()
        if spec.is_sign:
            changed = 2 * flip((codes + 1) // 2, 1) - 1
        else:
            lowest = -(1 << (spec.bits - 1)) if spec.signed else 0
            changed = flip(codes - lowest, spec.bits) + lowest
        return spec.decode(changed, scales)


class UniformRounding(Rounding):
    """Rounds to the nearest of equidistant values, half to even.

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
        return tensor.fake_quantize(scales, self.spec, self.estimator, self._draw_noise(tensor.count))

    def round_rows(self, tensor: Values[R]) -> R:
        """The same with the scales of `RowRange`, each computed from its own row."""
        return tensor.fake_quantize_rows(self.spec, self.estimator, self._draw_noise(tensor.count))

    def _draw_noise(self, count: int) -> kernels.Noise | None:
        """Which of `count` numbers are to be rounded; None: all."""
        if not self.noisy:
            return None
        low, high = torch.randint(2**32, (2,), generator=self.generator).tolist()
        first, _ = self.ranks.place(count)
        return kernels.Noise(self.noise_rate, (low + first) % 2**32, high)

    def extra_repr(self) -> str:
        return f"{self.spec}, estimator={self.estimator}, noise_rate={self.noise_rate}"
