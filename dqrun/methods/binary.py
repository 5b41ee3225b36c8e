"""`method=binary` and its presets: weights and activations of one bit."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from dqrun.methods.base import Method, Stage
from dqrun.methods.binary_config import BinaryConfig as BinaryConfig
from dqrun.methods.teaching import Teaching

if TYPE_CHECKING:
    from torch import Tensor, nn

    from dqrun.config import TrainConfig
    from dqrun.config.method import MethodConfig
    from dqrun.graphs import Batch
    from dqrun.quant import Point, Quantizer, QuantSpec, Rounding, ScaleProvider
    from dqrun.quant.estimators import SignEstimator

TANH, ACTIVATIONS, EARLY, BINARY = "tanh", "activations", "early bases", "binary"


class Binary(Method):
    """Signs times scales: mean|w| of each output channel, mean|x| of each row (Bi-GCN, section 4).

    Activations of more bits, and weights in the form "uniform", have the grids of quantisation-aware training. Stages,
    in this order, of which only the last is kept: "tanh", activations through tanh in place of signs, weights in FP32;
    "activations", signs of activations, weights in FP32; "early bases", weights with additional bases; "binary".
    """

    config: BinaryConfig

    def __init__(self, config: MethodConfig, layers: int = 1) -> None:
        super().__init__(config, layers)
        self.teaching = Teaching(self.config.teacher)

    def quantizer(self, point: Point, spec: QuantSpec) -> Quantizer | None:
        from dqrun.quant import Quantizer
        from dqrun.quant.one_bit import one_bit_quantizer

        if point.is_weight and (spec.bits == 1 or self.config.weight_form != "uniform"):
            return self.weight_quantizer(point, spec)
        centring = self.centring(point)
        if centring is not None:
            symmetric = spec.symmetric or spec.bits == 1
            spec = replace(spec, signed=True, symmetric=symmetric, narrow=symmetric)
        if spec.bits > 1:
            return Quantizer(self.scales(point, spec), self.rounding(point, spec), name=point.name, centring=centring)
        rule = self.config.attention if point.matches("**.coefficient") else "mean"
        xnor = self.config.activation_gradient == "xnor"
        return one_bit_quantizer(point, spec, self.estimator(False), xnor=xnor, rule=rule, centring=centring)

    def centring(self, point: Point) -> nn.Module | None:
        """The centring of an activation, or None."""
        from dqrun.quant.centring import make_centring

        chosen = self.config.centring
        if chosen.kind == "none" or not any(point.matches(glob) for glob in chosen.sites):
            return None
        return make_centring(chosen.kind, point.width, point.name)

    def rounding(self, point: Point, spec: QuantSpec) -> Rounding:
        """The rounding of an activation, or of a weight in the form "uniform", with more than 1 bit."""
        from dqrun.quant import UniformRounding

        return UniformRounding(spec, "ste" if self.config.estimator == "ste" else "clipped")

    def estimator(self, of_weight: bool) -> SignEstimator:
        """The estimator of a sign's gradient; "biper" applies to weights alone, as in its paper."""
        from dqrun.quant import estimators

        kind, slope = self.config.estimator, self.config.slope
        if kind == "reste":
            return estimators.Reste(slope.exponent, slope.epochs, slope.limit)
        if kind == "biper" and of_weight:
            return estimators.Biper(slope.frequency)
        return estimators.SignEstimator() if kind == "ste" else estimators.Clipped(slope.limit)

    def weight_centring(self, point: Point) -> nn.Module | None:
        """The centring of a weight, or None."""
        from dqrun.quant.centring import Standardised

        if self.config.weight_centring == "none":
            return None
        assert point.weight_shape is not None
        shape = point.scale_shape or (1,) * len(point.weight_shape)
        dims = tuple(dim for dim, size in enumerate(shape) if size == 1)
        return Standardised(dims, self.config.weight_centring == "standardised")

    def weight_quantizer(self, point: Point, spec: QuantSpec) -> Quantizer:
        """The quantiser of a weight, as `weight_form`, `early` and `salient` demand."""
        from dqrun.quant import Quantizer
        from dqrun.quant.binary_weights import Bases, Salient, SalientRule, TernaryRounding, TernaryScale, TwoBinaries
        from dqrun.quant.signs import SignRounding

        spec = replace(spec, signed=True, symmetric=True, narrow=True)
        form, sign, salient = self.config.weight_form, replace(spec, bits=1), self.config.salient
        more: dict[str, Any] = {"name": point.name, "centring": self.weight_centring(point)}
        if spec.bits > 1 and form == "two_binaries":
            rounding = TwoBinaries(spec, self.weight_scales(point, sign))
            return Quantizer(self.weight_scales(point, sign), rounding, **more)
        if spec.bits > 1 and form == "ternary":
            learned = self.config.learned_scale
            scales = self.weight_scales(point, sign) if learned else TernaryScale(spec, point.scale_shape)
            return Quantizer(scales, TernaryRounding(spec, point.scale_shape), **more)
        number = max(spec.bits, self.config.early.effective().bases)
        parts = [
            Quantizer(
                self.weight_scales(point, sign),
                SignRounding(sign, self.estimator(True), self.config.weight_gradient == "xnor"),
                **more,
            )
            for _ in range(number)
        ]
        if salient.share:
            assert point.weight_shape is not None
            rule = SalientRule(point.weight_shape, salient.share, salient.bits, salient.by)
            return Salient(parts[0], rule)
        made = parts[0] if number == 1 else Bases(parts, spec.bits)
        made.passes_signs = self.config.unscaled_input_gradient and number == 1
        return made

    def weight_scales(self, point: Point, spec: QuantSpec) -> ScaleProvider:
        """The provider of a weight's scales: mean|w|, or a parameter that begins with mean|w|."""
        from dqrun.quant import LearnedScale, RangeObserver
        from dqrun.quant.signs import MeanScale

        if self.config.learned_scale:
            return LearnedScale(RangeObserver(spec, point.scale_shape), from_mean=True)
        return MeanScale(spec, point.scale_shape, follows=self.config.weight_gradient == "xnor")

    def stages(self, train: TrainConfig) -> list[Stage]:
        from dqrun.quant import Phase

        teacher, early = self.config.teacher, self.config.early.effective()
        before = {TANH: teacher.tanh_epochs, ACTIVATIONS: teacher.activation_epochs, EARLY: early.epochs}
        stages = [Stage(name, epochs, Phase.QUANTIZE, kept=False) for name, epochs in before.items() if epochs]
        return [*stages, Stage(BINARY, train.epochs - sum(before.values()), Phase.QUANTIZE)]

    def before_training(self, model: nn.Module) -> None:
        self.teaching.begin(model)

    def before_epoch(self, model: nn.Module, epoch: int, stage: Stage) -> None:
        from dqrun.quant import Phase, named_sites
        from dqrun.quant.binary_weights import Bases, Salient
        from dqrun.quant.estimators import SignEstimator
        from dqrun.quant.signs import SignRounding

        for _, site in named_sites(model):
            if site.is_weight and site.quantizer is not None:
                site.quantizer.phase = Phase.BYPASS if stage.name in (TANH, ACTIVATIONS) else stage.phase
        for module in model.modules():
            if isinstance(module, SignEstimator):
                module.begin_epoch(epoch)
            elif isinstance(module, SignRounding):
                module.soft = stage.name == TANH
            elif isinstance(module, Bases):
                module.use_all(stage.name == EARLY)
            elif isinstance(module, Salient):
                module.choose()

    def penalty(self, model: nn.Module) -> Tensor | None:
        from dqrun.quant.binary_weights import Bases

        if not self.config.early.penalty:
            return None
        passing = [scale for part in model.modules() if isinstance(part, Bases) for scale in part.passing_scales()]
        return self.config.early.penalty * sum((scale.sum() for scale in passing), start=0.0 * passing[0].sum())

    def guidance(self, batch: Batch, logits: Tensor) -> Tensor | None:
        return self.teaching.loss(batch, logits)
