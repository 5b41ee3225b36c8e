"""Builds the quantiser of a point of one bit."""

from __future__ import annotations

from torch import nn

from dqrun.errors import ConfigError
from dqrun.quant.estimators import SignEstimator
from dqrun.quant.point import Point
from dqrun.quant.quantizer import Quantizer
from dqrun.quant.scales import ScaleProvider
from dqrun.quant.signs import BoolRounding, MeanScale, NoScale, SignRounding
from dqrun.quant.spec import QuantSpec


def one_bit_quantizer(
    point: Point,
    spec: QuantSpec,
    estimator: SignEstimator,
    *,
    xnor: bool = False,
    rule: str = "mean",
    protects: bool = True,
    centring: nn.Module | None = None,
) -> Quantizer:
    """The sign grid of a weight or an activation, or {0, level} for values without negative ones.

    `spec`: of 1 bit. `xnor`: see `SignRounding`; the gradient of a scale then also passes to the values whose mean it
    is. `rule`: see `BoolRounding`. `protects`, `centring`: see `Quantizer`. Raises ConfigError for an activation with
    one scale for all rows.
    """
    if not point.matches("**.coefficient"):  # attention coefficients have levels per target node, not per row
        require_rows(point, spec)
    if not spec.signed:
        return Quantizer(NoScale(spec), BoolRounding(spec, estimator, rule), protects, point.name, centring)
    scales: ScaleProvider = MeanScale(spec, point.scale_shape, follows=xnor)
    return Quantizer(scales, SignRounding(spec, estimator, xnor), protects, point.name, centring)


def require_rows(point: Point, spec: QuantSpec) -> None:
    """Raises ConfigError for an activation of 1 bit with one scale for all rows: hubs would dominate that scale."""
    if not point.is_weight and spec.granularity.kind != "row":
        rule = f"be row where an activation has 1 bit, of more than one number ({point.name})"
        raise ConfigError.rule("quant.activation_granularity", rule, spec.granularity.kind)
