"""How numbers are written in tables. Imports nothing, so that `dqrun compare` starts at once."""

from __future__ import annotations

import math
from decimal import ROUND_HALF_UP, Decimal


def unit_of(metric: str) -> tuple[float, int, str]:
    """Factor, decimals and unit in which a metric is shown: accuracy in percent, errors as they are."""
    return (100, 2, " %") if metric == "accuracy" else (1, 4, "")


def format_mean(mean: float, half_width: float, metric: str) -> str:
    """`81.42 % +- 0.51` for a fraction (in percent), `0.4312 +- 0.0021` for an error; `-` without a value."""
    if math.isnan(mean):
        return "-"
    scale, digits, unit = unit_of(metric)
    spread = "" if math.isnan(half_width) else f" +- {fixed(half_width * scale, digits)}"
    return f"{fixed(mean * scale, digits)}{unit}{spread}"


def fixed(value: float, digits: int) -> str:
    """A number with so many decimals, halves away from zero.

    Accuracies are hits by trials, so means such as 81.475 are common; summation noise must not decide how they round.
    """
    return str(Decimal(f"{value:.{digits + 8}f}").quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP))


def format_difference(difference: float, metric: str) -> str:
    """`+8.05` (percentage points) for a fraction, `-0.0123` for an error; `-` without a value."""
    if math.isnan(difference):
        return "-"
    scale, digits, _ = unit_of(metric)
    return f"{'+' if difference >= 0 else ''}{fixed(difference * scale, digits)}"


def format_p(p: float) -> str:
    """A p-value with two digits, `<0.0001` below that; `-` without one."""
    if math.isnan(p):
        return "-"
    return "<0.0001" if p < 1e-4 else f"{p:.2g}" if p < 0.001 else f"{p:.3f}"


def text_of(value: object) -> str:
    """A field's value in a table: empty for None and nan."""
    return "" if value is None or value != value else str(value)
