"""`method=pact`: parameterised clipping of activations (Choi et al. 2018)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from dqrun.config.rules import doc, require, require_one_of
from dqrun.config.search import Dimension, around
from dqrun.methods.base import Method
from dqrun.methods.qat import LearnedQatConfig, Qat

if TYPE_CHECKING:
    from torch import Tensor, nn

    from dqrun.config import RunConfig
    from dqrun.quant import Point, QuantSpec, Rounding, ScaleProvider

RANGES = ("observed", "least_error")
CANDIDATES = 100
"""Shares of a range of which the one with the least error is taken."""


@dataclass
class PactConfig(LearnedQatConfig):
    """PACT: the range of each activation is clipped at a learned value, which a penalty draws towards zero
    (arXiv 1805.06085)."""

    settings: ClassVar[tuple[str, ...]] = ("clip_decay", *LearnedQatConfig.settings)

    clip_decay: float = doc(
        "c: c / 2 times the square of each end of each learned range is added to the loss, >= 0", 2e-4
    )
    clip_start: str = doc(
        "where a learned range begins: observed (as method.observer says), least_error (the share of it with the least "
        "squared error)",
        "least_error",
    )
    weight_range: str = doc(
        "of weights: observed (as method.weight_observer says), least_error (the share of it with the least squared "
        "error, in each step: what SAWB estimates from two moments)",
        "observed",
    )

    def validate(self) -> None:
        super().validate()
        require(self.clip_decay >= 0, "method.clip_decay", "be >= 0", self.clip_decay)
        require_one_of("method.clip_start", self.clip_start, RANGES)
        require_one_of("method.weight_range", self.weight_range, RANGES)

    def validate_in(self, run: RunConfig) -> None:
        super().validate_in(run)
        kind, rule = run.quant.activation_granularity, "be tensor for method=pact, whose clips are those of a tensor"
        require(kind == "tensor", "quant.activation_granularity", rule, kind)

    def dimensions(self) -> list[Dimension]:
        decay = around("clip_decay", ("method.clip_decay",), 1e-7, 1e-1, self.clip_decay, zero_below=1e-6)
        return [decay, *super().dimensions()]


class Pact(Qat):
    """Activations have a learned clip, weights an observed range.

    A signed grid has a clip on each side; both are multiples of one scale, so that zero keeps its code. The parameter
    is the logarithm of the scale, see `LearnedScale`.
    """

    config: PactConfig

    def scales(self, point: Point, spec: QuantSpec) -> ScaleProvider:
        from dqrun.quant import LearnedScale
        from dqrun.quant.observer import RangeObserver
        from dqrun.quant.shares import Search
        from dqrun.quant.shrunk_range import ShrunkRange

        observed = Method.scales(self, point, spec)
        assert isinstance(observed, RangeObserver)
        how = self.config.weight_range if point.is_weight else self.config.clip_start
        start = observed if how == "observed" else ShrunkRange(observed, Search(CANDIDATES, power=2.0))
        return start if point.is_weight else LearnedScale(start, scales_gradient=False)

    def rounding(self, point: Point, spec: QuantSpec) -> Rounding:
        from dqrun.quant.clipped_rounding import ClippedRounding

        if point.is_weight:
            return super().rounding(point, spec)
        return ClippedRounding(spec, self.config.estimator)

    def penalty(self, model: nn.Module) -> Tensor | None:
        import torch

        from dqrun.quant import LearnedScale

        clips = [module for module in model.modules() if isinstance(module, LearnedScale) and module.begun]
        if not clips or not self.config.clip_decay:
            return None
        squares = torch.stack([clip.ends().square().sum() for clip in clips])
        return squares.sum() * (self.config.clip_decay / 2)
