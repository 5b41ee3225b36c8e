"""A method: naive training with a penalty that makes weights flat, so that rounding moves them less.

dqrun plugins=[examples/kure_method.py] method=kure method.strength=0.05 model=gcn quant=int4

KURE: Shkolnik et al., NeurIPS 2020 (Robust quantization: one model to rule them all), equation 9.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

import dqrun.register
from dqrun.config.rules import doc, require
from dqrun.methods.naive import Naive, NaiveConfig

UNIFORM = 1.8
"""Kurtosis of a uniform distribution."""


@dataclass
class KureConfig(NaiveConfig):
    """Naive training with a penalty on the kurtosis of weights."""

    strength: float = doc("factor of the penalty, >= 0", 0.01)

    def validate(self) -> None:
        super().validate()
        require(self.strength >= 0, "method.strength", "be >= 0", self.strength)


@dqrun.register.method("kure", config=KureConfig)
class Kure(Naive):
    config: KureConfig

    def penalty(self, model: nn.Module) -> Tensor | None:
        """The mean over weight matrices of the squared distance of their kurtosis to that of a uniform one."""
        weights = [each for each in model.parameters() if each.dim() == 2 and each.numel() > 1]
        if not weights:
            return None
        distances = [(kurtosis(weight) - UNIFORM) ** 2 for weight in weights]
        return self.config.strength * sum(distances[1:], distances[0]) / len(distances)


def kurtosis(values: Tensor) -> Tensor:
    """The fourth standardised moment, 0-d."""
    centred = values - values.mean()
    return (centred**4).mean() / (centred**2).mean().clamp(min=1e-12) ** 2
