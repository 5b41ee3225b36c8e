"""`Qat`: quantisation-aware training, the common base of naive, noisy, dq and other methods."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from dqrun.config.method import MethodConfig
from dqrun.config.rules import doc, require
from dqrun.methods.base import Method, Stage

if TYPE_CHECKING:
    from dqrun.config import RunConfig, TrainConfig
    from dqrun.quant import Point, QuantSpec, ScaleProvider


@dataclass
class QatConfig(MethodConfig):
    """Quantisation-aware training: rounding in each step, with gradients that pass it."""

    learned_scale: bool = doc("the scale of each grid is a parameter (LSQ), else it follows the observed range", False)
    delay_epochs: int = doc(
        "epochs at the beginning in which nothing is rounded and no range observed, >= 0, < the epochs of training",
        0,
    )
    observe_epochs: int = doc(
        "learned_scale=true: epochs after the delay in which ranges are still observed, >= 0, < the epochs that remain",
        0,
    )

    def validate(self) -> None:
        super().validate()
        require(self.delay_epochs >= 0, "method.delay_epochs", "be >= 0", self.delay_epochs)
        require(self.observe_epochs >= 0, "method.observe_epochs", "be >= 0", self.observe_epochs)

    def validate_in(self, run: RunConfig) -> None:
        super().validate_in(run)
        learns = self.learned_scale and 1 in (run.quant.weight_bits, run.quant.activation_bits)
        require(not learns, "method.learned_scale", "be false at 1 bit (method=binary learns its scales)", True)
        epochs, delay = run.own_train.epochs, self.delay_epochs
        require(delay < epochs, "method.delay_epochs", f"be < the {epochs} epochs of training", delay)
        if self.learned_scale:
            observed, rule = self.observe_epochs, f"be < the {epochs - delay} epochs of training after the delay"
            require(observed < epochs - delay, "method.observe_epochs", rule, observed)

    def effective(self) -> MethodConfig:
        return self if self.learned_scale else replace(self, observe_epochs=0)

    def columns(self) -> dict[str, Any]:
        return {**super().columns(), "learned_scale": self.learned_scale}


@dataclass
class LearnedQatConfig(QatConfig):
    """Quantisation-aware training of which learned scales are the idea."""

    def validate(self) -> None:
        super().validate()
        learned = self.learned_scale
        require(learned, "method.learned_scale", f"be true for method={self.name}, which learns scales", learned)


class Qat(Method):
    """Quantisation-aware training, after a delay in FP32 and, with learned scales, epochs that observe (Jacob et al.,
    CVPR 2018; Esser et al., ICLR 2020).

    Ranges of FP32 activations do not transfer to the quantised network, in which each point clips the values of hubs
    before the next point observes them. Therefore nothing is observed in the delay, and none of its epochs is kept.
    """

    config: QatConfig

    def scales(self, point: Point, spec: QuantSpec) -> ScaleProvider:
        from dqrun.quant import LearnedRowFactor, LearnedScale, RangeObserver

        found = super().scales(point, spec)
        if not self.config.learned_scale:
            return found
        if isinstance(found, RangeObserver):
            return LearnedScale(found, from_mean=point.is_weight)
        return LearnedRowFactor(spec)

    def stages(self, train: TrainConfig) -> list[Stage]:
        from dqrun.quant import Phase

        delay, observe = self.config.delay_epochs, self.config.observe_epochs
        return [
            Stage("delay", delay, Phase.BYPASS, kept=False),
            Stage("observe", observe, Phase.OBSERVE),
            Stage("quantise", train.epochs - delay - observe, Phase.QUANTIZE),
        ]
