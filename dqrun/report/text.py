"""How numbers are written in tables. Imports nothing, so that `dqrun compare` starts at once."""

from __future__ import annotations

import math
from decimal import ROUND_HALF_UP, Decimal

UNITS = {
    "accuracy": (100.0, 2, " %"),
    "integer_agreement": (100.0, 2, " %"),
    "integer_agreement_float32": (100.0, 2, " %"),
    "seconds": (1.0, 1, " s"),
    "seconds_per_epoch": (1.0, 3, " s"),
    "peak_bytes": (2.0**-20, 1, " MiB"),
    "epochs": (1.0, 1, ""),
    "best_epoch": (1.0, 1, ""),
    "parameters": (1.0, 1, ""),
}


def unit_of(metric: str) -> tuple[float, int, str]:
    """Factor, decimals and unit in which a metric or a column of the rows is shown; errors as they are."""
    return UNITS.get(metric, (1.0, 4, ""))


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
    """A field's value in a table, as one writes it on the command line: empty for None and nan."""
    if isinstance(value, list):
        return f"[{','.join(map(text_of, value))}]"
    return "" if value is None or value != value else str(value)
