"""`method=qlr`: learned factors of the range of each batch (Moustafa et al., CIKM 2023)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from dqrun.config.method import MethodConfig
from dqrun.config.rules import doc, require, require_one_of
from dqrun.methods.base import Method
from dqrun.methods.qat import LearnedQatConfig, Qat

if TYPE_CHECKING:
    from dqrun.config import RunConfig
    from dqrun.quant import Point, QuantSpec, Rounding, ScaleProvider

ZERO_POINTS = ("integer", "real", "eight_bits")
FINE_STEPS = 255


@dataclass
class QlrConfig(LearnedQatConfig):
    """QLR: each range is a learned factor times the range of the batch (arXiv 2308.14949)."""

    zero_point: str = doc(
        "integer (zero is on each grid), real (the ends of the range are, zero need not be), eight_bits (the codes are "
        "a choice among the 256 of a grid of eight bits: 4 of 256 at 2 bits, BT)",
        "integer",
    )
    skewed: bool = doc(
        "zero_point=eight_bits: the rounded skewness of a tensor is added to its codes of eight bits (BT*)", False
    )
    candidates: int = doc("factors of which each begins as the one with the least mean absolute error, >= 1", 50)

    def validate(self) -> None:
        super().validate()
        require_one_of("method.zero_point", self.zero_point, ZERO_POINTS)
        require(self.candidates >= 1, "method.candidates", "be >= 1", self.candidates)

    def validate_in(self, run: RunConfig) -> None:
        super().validate_in(run)
        kind = run.quant.activation_granularity
        rule = f"be integer for quant.activation_granularity={kind}, where quant.row_offset says it"
        require(kind == "tensor" or self.zero_point == "integer", "method.zero_point", rule, self.zero_point)
        if self.zero_point != "eight_bits":
            return
        for name in ("weight_bits", "activation_bits"):
            bits = getattr(run.quant, name)
            fits = bits is None or FINE_STEPS % ((1 << bits) - 1) == 0
            require(fits, f"quant.{name}", "be 2, 4 or 8 for method.zero_point=eight_bits", bits)

    def effective(self) -> MethodConfig:
        config = super().effective()
        assert isinstance(config, QlrConfig)
        return config if self.zero_point == "eight_bits" else replace(config, skewed=False)


class Qlr(Qat):
    """Ranges of weights and activations follow each batch, times a factor that is trained.

    With a range for each row, one factor per tensor is learned for the ranges of all rows (`LearnedRowFactor`).
    Symmetric grids, which have no zero point, contain zero whatever `zero_point` is.
    """

    config: QlrConfig

    def scales(self, point: Point, spec: QuantSpec) -> ScaleProvider:
        from dqrun.quant import LearnedRowFactor, RangeObserver
        from dqrun.quant.learned_factor import LearnedFactor, offset_scales
        from dqrun.quant.shares import Search, on_grid

        if spec.granularity.per_row:
            return LearnedRowFactor(spec)
        observed = Method.scales(self, point, spec)
        assert isinstance(observed, RangeObserver)
        search, zero_point = Search(self.config.candidates, power=1.0), self._zero_point(spec)
        if zero_point == "integer":
            return LearnedFactor(observed, search, zero_point, on_grid(spec))
        rounding, steps = self._offset(spec), spec.qmax - spec.qmin

        def rounded(x: Any, low: Any, high: Any) -> Any:
            return rounding.rounded(x, offset_scales(low, high, steps, zero_point))

        return LearnedFactor(observed, search, zero_point, rounded)

    def rounding(self, point: Point, spec: QuantSpec) -> Rounding:
        return super().rounding(point, spec) if self._zero_point(spec) == "integer" else self._offset(spec)

    def _zero_point(self, spec: QuantSpec) -> str:
        return "integer" if spec.symmetric else self.config.zero_point

    def _offset(self, spec: QuantSpec) -> Any:
        from dqrun.quant.offset_rounding import OffsetRounding

        fine = FINE_STEPS if self.config.zero_point == "eight_bits" else None
        return OffsetRounding(spec, fine, self.config.skewed)
