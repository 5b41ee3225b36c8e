"""`method=noisy`: quantisation noise (Fan et al., ICLR 2021)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from dqrun.config.rules import doc, require
from dqrun.methods.qat import Qat, QatConfig

if TYPE_CHECKING:
    from dqrun.quant import Point, QuantSpec, Rounding


@dataclass
class NoisyConfig(QatConfig):
    """Quantisation noise: each step quantises a random share of the elements (Fan et al., ICLR 2021)."""

    shares_exactly: ClassVar[bool] = True

    noise_rate: float = doc("share of the elements that a training step quantises, (0, 1]; 1: all", 0.5)

    def validate(self) -> None:
        super().validate()
        require(0 < self.noise_rate <= 1, "method.noise_rate", "be in (0, 1]", self.noise_rate)


class Noisy(Qat):
    """Each element of a tensor is rounded with probability `noise_rate` in a training step, else it passes unchanged
    (section 4.2). Evaluation rounds all elements."""

    config: NoisyConfig

    def rounding(self, point: Point, spec: QuantSpec) -> Rounding:
        from dqrun.quant import UniformRounding

        return UniformRounding(spec, self.config.estimator, self.config.noise_rate, point.generator)
