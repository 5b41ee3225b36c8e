"""Common parts of methods with a width per row: settings, groups of parameters, the penalty on memory."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from dqrun import register
from dqrun.config.rules import doc, require
from dqrun.config.search import Dimension, around
from dqrun.methods.base import Stage
from dqrun.methods.qat import Qat, QatConfig

if TYPE_CHECKING:
    from torch import Tensor, nn

    from dqrun.config import RunConfig, TrainConfig
    from dqrun.quant import Point, QuantSpec, Rounding

WIDTHS = "widths"
BETAS = (0.9, 0.9)
"""Of Adam for scales and widths of rows: the first gradients of the penalty are large, and a long memory of them would
stop widths where the penalty ends."""


def require_row_ranges(run: RunConfig, method: str) -> None:
    """Raises ConfigError for a run whose settings do not allow a range and a width for each row."""
    kind, model = run.quant.activation_granularity, run.model.name
    require(kind == "row", "quant.activation_granularity", f"be row for method={method}", kind)
    require(run.quant.row_scale == "real", "quant.row_scale", f"be real for method={method}", run.quant.row_scale)
    symmetric = run.quant.symmetric_activations
    require(not symmetric, "quant.symmetric_activations", f"be false for method={method}", symmetric)
    require(model not in register.model, "model", f"be one of dqrun's layers for method={method}", model)
    engine = run.evaluate.engine
    rule = f"be float for method={method}, whose rows differ in width"
    require(engine == "float", "evaluate.engine", rule, engine)


def widths_learned(asked: int | None, epochs: int) -> int:
    """The number of epochs, of `epochs` in all, that learn widths; `asked`: `method.width_epochs`."""
    return max(1, epochs // 2) if asked is None else asked


@dataclass
class RowWidthConfig(QatConfig):
    """Widths of rows, learned under a penalty on memory."""

    settings: ClassVar[tuple[str, ...]] = ("bits_lr", "memory_weight", *QatConfig.settings)

    target_bits: float = doc("mean width of activations above which memory is penalised, >= 1", 2.0)
    memory_weight: float = doc("factor of the penalty: rows of a step x squared excess of their mean width, > 0", 0.3)
    bits_lr: float = doc("learning rate of widths, > 0, in bits", 0.05)
    width_epochs: int | None = doc(
        "epochs at the beginning that learn widths, of which none is kept; widths are fixed in the rest, >= 1; null: "
        "half of the epochs",
        None,
    )

    def validate(self) -> None:
        super().validate()
        require(self.target_bits >= 1, "method.target_bits", "be >= 1", self.target_bits)
        require(self.memory_weight > 0, "method.memory_weight", "be > 0", self.memory_weight)
        require(self.bits_lr > 0, "method.bits_lr", "be > 0", self.bits_lr)
        epochs = self.width_epochs
        require(epochs is None or epochs >= 1, "method.width_epochs", "be >= 1 or null", epochs)

    def validate_in(self, run: RunConfig) -> None:
        super().validate_in(run)
        require_row_ranges(run, self.name)
        known = self.delay_epochs + self.observe_epochs, run.own_train.epochs
        learnt = widths_learned(self.width_epochs, known[1])
        rule = f"leave an epoch of the {known[1]} of training, {known[0]} of which delay and observe"
        require(known[0] + learnt < known[1], "method.width_epochs", rule, learnt)

    def dimensions(self) -> list[Dimension]:
        return [
            around("bits_lr", ("method.bits_lr",), 5e-3, 0.2, self.bits_lr),
            around("memory_weight", ("method.memory_weight",), 1e-3, 10.0, self.memory_weight),
            *super().dimensions(),
        ]


class LearnedRowWidths(Qat):
    """Quantisation-aware training with a learned width for each row of activations; weights have the width of `quant`.

    Epochs that learn widths are not kept: early ones have more bits than demanded, and validation would choose them.
    The remaining epochs train with fixed widths.
    """

    config: RowWidthConfig
    learns_widths: ClassVar[bool] = True

    @property
    def rates(self) -> dict[str, float]:
        """Learning rates by the last part of a quantiser parameter's name."""
        return {"bits": self.config.bits_lr}

    def rounding(self, point: Point, spec: QuantSpec) -> Rounding:
        from dqrun.quant.row_widths import RowWidthRounding

        if self.has_widths(point, spec):
            return RowWidthRounding(spec, self.config.estimator)
        return super().rounding(point, spec)

    def has_widths(self, point: Point, spec: QuantSpec) -> bool:
        """Whether the rows of a point have learned widths."""
        return spec.granularity.per_row

    def parameter_groups(self, model: nn.Module, train: TrainConfig) -> list[dict[str, Any]]:
        from dqrun.quant.row_widths import row_widths

        rates = self.rates
        own: dict[str, list[nn.Parameter]] = {name: [] for name in rates}
        for provider in row_widths(model):
            for name, parameter in provider.named_parameters(recurse=False):
                own[name].append(parameter)
        known = {id(parameter) for listed in own.values() for parameter in listed}
        groups = super().parameter_groups(model, train)
        for group in groups:
            group["params"] = [parameter for parameter in group["params"] if id(parameter) not in known]
        how = {"weight_decay": 0.0, "betas": BETAS}
        return [*groups, *({"params": own[name], "lr": rates[name], **how} for name in rates)]

    def stages(self, train: TrainConfig) -> list[Stage]:
        *before, last = super().stages(train)
        epochs = widths_learned(self.config.width_epochs, train.epochs)
        widths = replace(last, name=WIDTHS, epochs=epochs, kept=False)
        return [*before, widths, replace(last, epochs=last.epochs - epochs)]

    def before_epoch(self, model: nn.Module, epoch: int, stage: Stage) -> None:
        from dqrun.quant.row_widths import row_widths

        for provider in row_widths(model):
            provider.get_parameter("bits").requires_grad_(stage.name == WIDTHS)

    def penalty(self, model: nn.Module) -> Tensor | None:
        from dqrun.quant.row_widths import squared_excess

        excess = squared_excess(model, self.config.target_bits)
        return None if excess is None else self.config.memory_weight * excess
