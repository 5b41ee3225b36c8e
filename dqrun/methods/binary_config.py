"""Settings of `method=binary`, a dataclass for each of its choices."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

from dqrun.config.method import MethodConfig
from dqrun.config.rules import doc, require, require_one_of

if TYPE_CHECKING:
    from dqrun.config.run import RunConfig

ESTIMATORS = ("ste", "clipped", "reste", "biper")
GRADIENTS = ("identity", "xnor")
CENTRINGS = ("none", "batch_norm", "row")
WEIGHT_CENTRINGS = ("none", "mean", "standardised")
FORMS = ("bases", "two_binaries", "ternary", "uniform")
SALIENCES = ("magnitude", "hessian")
ATTENTIONS = ("mean", "balanced")


@dataclass
class SlopeConfig:
    """The function in place of the derivative of the sign (`method.slope.*`)."""

    limit: float = doc("estimator=clipped, reste: the slope is 0 beyond this size, > 0", 1.0)
    exponent: float = doc("estimator=reste: o of the slope of |x|^(1/o) at the end, >= 1", 3.0)
    epochs: int = doc("estimator=reste: epochs in which o grows from 1 to exponent, >= 1", 100)
    frequency: float = doc("estimator=biper: w of sign(sin(w x)), > 0", 20.0)

    def validate(self) -> None:
        require(self.limit > 0, "method.slope.limit", "be > 0", self.limit)
        require(self.exponent >= 1, "method.slope.exponent", "be >= 1", self.exponent)
        require(self.epochs >= 1, "method.slope.epochs", "be >= 1", self.epochs)
        require(self.frequency > 0, "method.slope.frequency", "be > 0", self.frequency)

    def effective(self, estimator: str) -> SlopeConfig:
        """The same without what an estimator does not read."""
        read = {
            "ste": (),
            "clipped": ("limit",),
            "reste": ("limit", "exponent", "epochs"),
            "biper": ("limit", "frequency"),
        }
        return SlopeConfig(**{name: getattr(self, name) for name in read[estimator]})


@dataclass
class CentringConfig:
    """How activations are brought around 0 before their signs are taken (`method.centring.*`)."""

    kind: str = doc(
        "none, batch_norm (each channel, without learned factors), row (each row: its mean and deviation)", "none"
    )
    sites: list[str] = doc("globs, as in plan.rules, of the sites that are centred, e.g. ['layers.0.input']", [])

    def validate(self) -> None:
        require_one_of("method.centring.kind", self.kind, CENTRINGS)
        require(
            self.kind == "none" or bool(self.sites), "method.centring.sites", f"name sites for {self.kind}", self.sites
        )

    def effective(self) -> CentringConfig:
        """The same without sites where nothing is centred."""
        return CentringConfig() if self.kind == "none" else self


@dataclass
class SalientConfig:
    """Weights that are kept at more bits (`method.salient.*`; PB-LLM)."""

    share: float = doc("share of the elements of each weight of 1 bit that are kept at more bits, [0, 1)", 0.0)
    bits: int = doc("their width, 2..8", 8)
    by: str = doc(
        "magnitude (the largest), hessian (largest w^2 h, h the mean squared gradient); chosen in the first step of "
        "each epoch",
        "magnitude",
    )

    def validate(self) -> None:
        require(0 <= self.share < 1, "method.salient.share", "be in [0, 1)", self.share)
        require(2 <= self.bits <= 8, "method.salient.bits", "be in 2..8", self.bits)
        require_one_of("method.salient.by", self.by, SALIENCES)

    def effective(self) -> SalientConfig:
        """The same without choices for an empty share."""
        return self if self.share else SalientConfig()


@dataclass
class EarlyConfig:
    """More bases at the beginning (`method.early.*`; BinaryDM)."""

    bases: int = doc("weights in the form of bases have at least so many in the early epochs, 1..8", 1)
    epochs: int = doc("early epochs, of which none is kept, >= 0", 0)
    penalty: float = doc("learned_scale=true: factor of the sum of the scales that will not stay, >= 0", 0.0)

    def validate(self) -> None:
        require(1 <= self.bases <= 8, "method.early.bases", "be in 1..8", self.bases)
        require(self.epochs >= 0, "method.early.epochs", "be >= 0", self.epochs)
        require(self.penalty >= 0, "method.early.penalty", "be >= 0", self.penalty)

    def effective(self) -> EarlyConfig:
        """The same, empty where there are no early epochs."""
        return self if self.epochs and self.bases > 1 else EarlyConfig()


@dataclass
class TeacherConfig:
    """Staged training after the FP32 network of the same seed (`method.teacher.*`; BinaryGNN)."""

    tanh_epochs: int = doc("epochs at the beginning with tanh in place of signs and weights in FP32, >= 0", 0)
    activation_epochs: int = doc("epochs after these in which activations alone are rounded, >= 0", 0)
    logits: float = doc("factor of the divergence from the FP32 network's predictions in the loss, >= 0", 0.0)
    temperature: float = doc("of these predictions, > 0", 1.0)
    structure: float = doc(
        "factor of the divergence between the similarities of neighbours in the last hidden states, >= 0", 0.0
    )

    @property
    def teaches(self) -> bool:
        """Whether the FP32 network has a part in the loss."""
        return self.logits > 0 or self.structure > 0

    def validate(self) -> None:
        for name in ("tanh_epochs", "activation_epochs", "logits", "structure"):
            require(getattr(self, name) >= 0, f"method.teacher.{name}", "be >= 0", getattr(self, name))
        require(self.temperature > 0, "method.teacher.temperature", "be > 0", self.temperature)

    def effective(self) -> TeacherConfig:
        """The same without a temperature of nothing."""
        return self if self.logits else replace(self, temperature=1.0)


@dataclass
class BinaryConfig(MethodConfig):
    """Binary networks: weights and activations of one bit, with scales for channels and rows (Bi-GCN: Wang et al., CVPR
    2021; and others, see docs/reference/one_bit.md)."""

    has_one_bit: ClassVar[bool] = True
    estimators: ClassVar[tuple[str, ...]] = ESTIMATORS

    slope: SlopeConfig = field(default_factory=SlopeConfig, metadata={"doc": "of the estimator"})
    weight_gradient: str = doc(
        "xnor (of the product scale x sign, the scale following the weight), identity (the estimator's slope alone)",
        "xnor",
    )
    activation_gradient: str = doc("the same for activations of 1 bit", "identity")
    unscaled_input_gradient: bool = doc(
        "products pass gradients to their input with the signs of the weight alone, as the released code of Bi-GCN",
        False,
    )
    centring: CentringConfig = field(
        default_factory=CentringConfig, metadata={"doc": "activations are brought around 0 before rounding"}
    )
    weight_centring: str = doc(
        "weights of 1 bit are rounded as they are (none), less their mean (mean), or over their deviation too "
        "(standardised), for each scale",
        "none",
    )
    learned_scale: bool = doc("scales of binary weights are trained (XNOR-Net++), else they follow the weight", False)
    weight_form: str = doc(
        "what weights of more than 1 bit are: bases (as many binary ones as bits), two_binaries (2 bits: levels -s, 0, "
        "s, 2s), ternary (2 bits, symmetric: -s, 0, s), uniform (an equidistant grid)",
        "bases",
    )
    salient: SalientConfig = field(
        default_factory=SalientConfig, metadata={"doc": "weights that are kept at more bits"}
    )
    early: EarlyConfig = field(default_factory=EarlyConfig, metadata={"doc": "more bases at the beginning"})
    attention: str = doc(
        "where the plan gives coefficients of attention 1 bit: mean (those at least the mean of their node's, scaled "
        "to be nearest: BiViT), balanced (those whose logit is at least the mean, with equal weights: BiBERT)",
        "mean",
    )
    teacher: TeacherConfig = field(default_factory=TeacherConfig, metadata={"doc": "staged training after FP32"})

    def validate(self) -> None:
        super().validate()
        for part in (self.slope, self.centring, self.salient, self.early, self.teacher):
            part.validate()
        require_one_of("method.weight_gradient", self.weight_gradient, GRADIENTS)
        require_one_of("method.activation_gradient", self.activation_gradient, GRADIENTS)
        require_one_of("method.weight_centring", self.weight_centring, WEIGHT_CENTRINGS)
        require_one_of("method.weight_form", self.weight_form, FORMS)
        require_one_of("method.attention", self.attention, ATTENTIONS)
        free = not self.learned_scale and self.early.effective().bases == 1
        require(not self.salient.share or free, "method.salient.share", self._salient_rule(), self.salient.share)
        stays = not self.early.penalty or self.learned_scale
        require(stays, "method.early.penalty", "be 0 unless method.learned_scale=true", self.early.penalty)

    @staticmethod
    def _salient_rule() -> str:
        return "be 0 with method.learned_scale or method.early.bases"

    def validate_in(self, run: RunConfig) -> None:
        super().validate_in(run)
        bits, form = run.quant.weight_bits, self.weight_form
        if form in ("two_binaries", "ternary"):
            require(bits in (1, 2, None), "quant.weight_bits", f"be 2 (or 1) for method.weight_form={form}", bits)
        if self.salient.share:
            require(bits == 1, "quant.weight_bits", "be 1 where method.salient.share > 0", bits)
        spent, epochs = self.unkept_epochs, run.own_train.epochs
        require(spent < epochs, "method.early and method.teacher", f"leave some of the {epochs} epochs", spent)
        if self.teacher.teaches:
            rule = "be fp32 where method.teacher.logits or method.teacher.structure is > 0"
            require(run.train.warm_start == "fp32", "train.warm_start", rule, run.train.warm_start)

    @property
    def unkept_epochs(self) -> int:
        """Epochs before the last stage."""
        return self.early.effective().epochs + self.teacher.tanh_epochs + self.teacher.activation_epochs

    def effective(self) -> MethodConfig:
        return replace(
            self,
            slope=self.slope.effective(self.estimator),
            centring=self.centring.effective(),
            salient=self.salient.effective(),
            early=self.early.effective(),
            teacher=self.teacher.effective(),
        )

    def columns(self) -> dict[str, Any]:
        return {**super().columns(), "learned_scale": self.learned_scale}
