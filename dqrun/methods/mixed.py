"""`method=mixed`: a width for each quantisation point, searched by gradients, then a training anew."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from dqrun.config.method import MethodConfig
from dqrun.config.rules import doc, require, require_one_of
from dqrun.methods.base import Stage
from dqrun.methods.qat import Qat, QatConfig

if TYPE_CHECKING:
    from torch import Tensor, nn

    from dqrun.config import RunConfig, TrainConfig
    from dqrun.quant import Point, Quantizer, QuantSpec, Rounding

CHOICES = ("softmax", "gumbel")
SCALE_GRADIENTS = ("lsq", "mixq")
SEARCH = "search"
BITS_OF_KIBIBYTE = 8192


@dataclass
class MixedConfig(QatConfig):
    """A width for each quantisation point, searched by gradients together with the network (MixQ-GNN, Moustafa et al.,
    ICDE 2025; LPGNAS, Zhao et al., 2020); then the network is trained anew with the widths found."""

    widths: list[int] = doc("widths to choose from at a point, each 2..8 and at most the point's own width", [2, 4, 8])
    choice: str = doc(
        "weights of the candidates in the search: softmax of the preferences (MixQ-GNN), or gumbel (LPGNAS): drawn in "
        "each step by the Gumbel-softmax trick",
        "softmax",
    )
    temperature: float = doc("of the Gumbel-softmax, > 0", 1.0)
    cost: float = doc(
        "factor of the penalty, >= 0: KiB of all rounded numbers of a step at the mean width of their candidates", 0.1
    )
    search_epochs: int | None = doc("epochs of the search, >= 1; null: as many as the training anew", None)
    preference_lr: float = doc("learning rate of the preferences, > 0", 0.01)
    scale_gradient: str = doc(
        "learned_scale=true: lsq (the derivative), mixq (that of MixQ-GNN's released code, which lacks a term)", "lsq"
    )

    def validate(self) -> None:
        super().validate()
        ascending = self.widths == sorted(set(self.widths)) and all(2 <= width <= 8 for width in self.widths)
        require(bool(self.widths) and ascending, "method.widths", "be widths in 2..8, ascending", list(self.widths))
        require_one_of("method.choice", self.choice, CHOICES)
        require(self.temperature > 0, "method.temperature", "be > 0", self.temperature)
        require(self.cost >= 0, "method.cost", "be >= 0", self.cost)
        epochs = self.search_epochs
        require(epochs is None or epochs >= 1, "method.search_epochs", "be >= 1 or null", epochs)
        require(self.preference_lr > 0, "method.preference_lr", "be > 0", self.preference_lr)
        require_one_of("method.scale_gradient", self.scale_gradient, SCALE_GRADIENTS)

    def validate_in(self, run: RunConfig) -> None:
        super().validate_in(run)
        known = [bits for bits in (run.quant.weight_bits, run.quant.activation_bits) if bits is not None]
        fits = min(self.widths) <= min(known)
        require(fits, "method.widths", f"hold a width of at most {min(known)} bits (quant)", list(self.widths))

    def effective(self) -> MethodConfig:
        config = super().effective()
        assert isinstance(config, MixedConfig)
        if self.choice == "softmax":
            config = replace(config, temperature=1.0)
        return config if self.learned_scale else replace(config, scale_gradient="lsq")


class Mixed(Qat):
    """A search, of which no epoch is kept, then a training from the beginning with the widths found.

    In the search the output of a point is sum_k p_k Q_k(x), Q_k its quantiser of width b_k. The loss has an additional
    term: `cost` times the sum over points of n sum_k softmax(preference)_k b_k / 8192, n the number of elements of a
    point. All candidates are computed, so that with K widths a step of the search takes about K times as long. Then
    each point keeps its preferred width. Initial weights, batches and dropout are those of a trial that has these
    widths in `plan.rules` from its first epoch on.
    """

    config: MixedConfig
    learns_widths: ClassVar[bool] = True

    def quantizer(self, point: Point, spec: QuantSpec) -> Quantizer | None:
        from dqrun.quant.mixture import Mixture

        widths = [width for width in self.config.widths if width <= spec.bits] or [spec.bits]
        made = [super(Mixed, self).quantizer(point, replace(spec, bits=width)) for width in widths]
        candidates = [each for each in made if each is not None]
        temperature = self.config.temperature if self.config.choice == "gumbel" else None
        return Mixture(candidates, temperature, point.generator)

    def rounding(self, point: Point, spec: QuantSpec) -> Rounding:
        from dqrun.quant.mean_gradient import MeanGradientRounding

        if self.config.learned_scale and self.config.scale_gradient == "mixq":
            return MeanGradientRounding(spec, self.config.estimator)
        return super().rounding(point, spec)

    def stages(self, train: TrainConfig) -> list[Stage]:
        from dqrun.quant import Phase

        epochs = train.epochs if self.config.search_epochs is None else self.config.search_epochs
        first, *rest = (stage for stage in super().stages(train) if stage.epochs)
        anew = replace(first, anew=("**.chosen", "**.preference"))
        return [Stage(SEARCH, epochs, Phase.QUANTIZE, kept=False), anew, *rest]

    def parameter_groups(self, model: nn.Module, train: TrainConfig) -> list[dict[str, Any]]:
        from dqrun.quant.mixture import mixtures

        preferences = [mixture.preference for mixture in mixtures(model)]
        known = {id(preference) for preference in preferences}
        groups = super().parameter_groups(model, train)
        for group in groups:
            group["params"] = [parameter for parameter in group["params"] if id(parameter) not in known]
        return [*groups, {"params": preferences, "lr": self.config.preference_lr, "weight_decay": 0.0}]

    def before_epoch(self, model: nn.Module, epoch: int, stage: Stage) -> None:
        from dqrun.quant.mixture import mixtures

        for mixture in mixtures(model):
            if stage.name != SEARCH and mixture.searched:
                mixture.choose()

    def penalty(self, model: nn.Module) -> Tensor | None:
        from dqrun.quant.mixture import mixtures

        searched = [mixture for mixture in mixtures(model) if mixture.searched]
        if not searched or not self.config.cost:
            return None
        bits = [mixture.count * mixture.mean_bits() for mixture in searched]
        return self.config.cost / BITS_OF_KIBIBYTE * sum(bits[1:], bits[0])
