"""`method=ptq`: post-training quantisation."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

from dqrun.config.method import MethodConfig
from dqrun.config.rules import doc, require, require_one_of
from dqrun.config.search import Dimension, around
from dqrun.methods.base import Method, Stage

if TYPE_CHECKING:
    from torch import nn

    from dqrun.config import RunConfig, TrainConfig
    from dqrun.graphs import Batch
    from dqrun.quant import Point, QuantSpec, ScaleProvider
    from dqrun.training.problem import Problem

CALIBRATORS = ("observed", "least_error")
CALIBRATIONS = ("training", "generated")
FEATURES = ("normal", "simplex")


@dataclass
class GeneratedConfig:
    """Graphs that are made up for a calibration without data (`method.generated.*`)."""

    features: str = doc("of a node: normal (numbers of mean 0 and variance 1), simplex (from 0, of sum 1)", "normal")
    nodes: int = doc("of all graphs together, >= 2", 1000)
    graphs: int = doc("among which the nodes are shared, >= 1, <= nodes; node tasks have one", 32)
    degree: float = doc("mean number of edges that enter a node, >= 0", 4.0)
    steps: int = doc("of gradient descent, in which features are fitted to the network, >= 0", 100)

    def validate(self) -> None:
        name = "method.generated"
        require_one_of(f"{name}.features", self.features, FEATURES)
        require(self.nodes >= 2, f"{name}.nodes", "be >= 2", self.nodes)
        require(1 <= self.graphs <= self.nodes, f"{name}.graphs", f"be in 1..{self.nodes}", self.graphs)
        require(self.degree >= 0, f"{name}.degree", "be >= 0", self.degree)
        require(self.steps >= 0, f"{name}.steps", "be >= 0", self.steps)


@dataclass
class PtqConfig(MethodConfig):
    """Post-training quantisation: training in FP32, then ranges of the training data, then rounding."""

    shares_exactly: ClassVar[bool] = True
    settings: ClassVar[tuple[str, ...]] = ("error_power", *MethodConfig.settings)
    fine_tunes: ClassVar[bool] = False
    has_one_bit: ClassVar[bool] = True

    calibrator: str = doc(
        "ranges of activations: observed (as method.observer says), least_error (the share of it with the least error)",
        "observed",
    )
    weight_calibrator: str = doc("the same of weights, whose range method.weight_observer sees", "observed")
    error_power: float = doc("p: least_error makes the mean of |error|^p small, > 0", 2.0)
    candidates: int = doc("least_error: shares that are tried, >= 1", 100)
    bias_correction: bool = doc(
        "each bias takes up by how much quantisation moved the mean of its layer's output, layer after layer", False
    )
    calibration: str = doc(
        "what passes through the network to find ranges: training (the training data), generated (graphs made up from "
        "the network alone)",
        "training",
    )
    generated: GeneratedConfig = field(
        default_factory=GeneratedConfig, metadata={"doc": "calibration=generated: the graphs"}
    )

    def validate(self) -> None:
        super().validate()
        for name in ("calibrator", "weight_calibrator"):
            require_one_of(f"method.{name}", getattr(self, name), CALIBRATORS)
        require(self.error_power > 0, "method.error_power", "be > 0", self.error_power)
        require(self.candidates >= 1, "method.candidates", "be >= 1", self.candidates)
        require_one_of("method.calibration", self.calibration, CALIBRATIONS)
        self.generated.validate()

    def validate_in(self, run: RunConfig) -> None:
        super().validate_in(run)
        if self.calibration == "generated":
            count, rule = run.train.bn_reestimation, "be 0 for method.calibration=generated, which reads no data"
            require(not run.model.has_batch_norm or count == 0, "train.bn_reestimation", rule, count)

    def effective(self) -> MethodConfig:
        config = replace(self, estimator="ste")
        if "least_error" not in (self.calibrator, self.weight_calibrator):
            config = replace(config, error_power=2.0, candidates=100)
        return config if self.calibration == "generated" else replace(config, generated=GeneratedConfig())

    def columns(self) -> dict[str, Any]:
        searched = "" if self.calibrator == "observed" else f"-least_error({self.error_power:g})"
        return {**super().columns(), "observer": f"{self.observer.label}{searched}"}

    def dimensions(self) -> list[Dimension]:
        searched = "least_error" in (self.calibrator, self.weight_calibrator)
        powers = [around("error_power", ("method.error_power",), 1.0, 4.0, self.error_power)] if searched else []
        return [*powers, *super().dimensions()]


class Ptq(Method):
    """Trains and validates the network in FP32, with the bits of `quant=fp32`. Then the training data pass once in
    evaluation mode, and each quantiser takes its range from them.

    With `train.warm_start=fp32` the network is that of the FP32 trial and nothing is trained; many settings can share
    one FP32 trial.
    """

    config: PtqConfig

    def scales(self, point: Point, spec: QuantSpec) -> ScaleProvider:
        from dqrun.quant import RangeObserver
        from dqrun.quant.shares import Search
        from dqrun.quant.shrunk_range import ShrunkRange

        observed = super().scales(point, spec)
        how = self.config.weight_calibrator if point.is_weight else self.config.calibrator
        if how == "observed" or not isinstance(observed, RangeObserver):
            return observed
        return ShrunkRange(observed, Search(self.config.candidates, self.config.error_power))

    def stages(self, train: TrainConfig) -> list[Stage]:
        from dqrun.quant import Phase

        trained = [] if train.warm_start == "fp32" else [Stage("fp32", train.epochs, Phase.BYPASS)]
        return [*trained, Stage("calibrate", 0, Phase.CALIBRATE)]

    def calibration_data(self, model: nn.Module, problem: Problem) -> Iterable[Batch]:
        if self.config.calibration == "training":
            return super().calibration_data(model, problem)
        from dqrun.nn.generated import generated_batch

        assert problem.sizes is not None
        return [generated_batch(model, problem.sizes, self.config.generated)]

    def after_training(self, model: nn.Module, problem: Problem) -> None:
        if self.config.bias_correction:
            from dqrun.nn.bias_correction import correct_biases

            correct_biases(model, self.calibration_data(model, problem))
