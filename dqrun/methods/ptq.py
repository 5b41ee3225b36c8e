"""`method=ptq`: post-training quantisation."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from dqrun.config.method import MethodConfig
from dqrun.config.rules import require
from dqrun.methods.base import Method, Stage

if TYPE_CHECKING:
    from dqrun.config import RunConfig, TrainConfig


@dataclass
class PtqConfig(MethodConfig):
    """Post-training quantisation: training in FP32, then ranges of the training data, then rounding."""

    has_one_bit: ClassVar[bool] = True

    def validate_in(self, run: RunConfig) -> None:
        super().validate_in(run)
        start = run.train.warm_start
        require(not run.starts_warm, "train.warm_start", f"be none for method={self.name}, which trains in FP32", start)

    def effective(self) -> MethodConfig:
        return replace(self, estimator="ste")


class Ptq(Method):
    """Trains and validates the network in FP32, with the bits of `quant=fp32`. Then the training data pass once in
    evaluation mode, and each quantiser takes its range from them."""

    config: PtqConfig

    def stages(self, train: TrainConfig) -> list[Stage]:
        from dqrun.quant import Phase

        return [Stage("fp32", train.epochs, Phase.BYPASS), Stage("calibrate", 0, Phase.CALIBRATE)]
