"""Mean, standard deviation and 95 % interval of a few numbers, without pandas and `scipy.stats`: both import slowly."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from functools import cache


def mean(values: Sequence[float]) -> float:
    """nan for no values."""
    if len(values) < 2:
        return values[0] if values else math.nan
    try:
        return statistics.fmean(values)
    except OverflowError:  # the sum is larger than any float, the mean may not be
        return math.fsum(value / len(values) for value in values)


def std(values: Sequence[float]) -> float:
    """Unbiased standard deviation; nan below two values and if one of them is not finite."""
    return statistics.stdev(values) if len(values) > 1 and all(map(math.isfinite, values)) else math.nan


def ci95(values: Sequence[float]) -> float:
    """Half-width of the 95 % confidence interval of a mean (Student's t with n - 1 degrees); nan below two values."""
    n = len(values)
    return _quantile(n - 1) * std(values) / math.sqrt(n) if n > 1 else math.nan


@cache
def _quantile(degrees: int) -> float:
    from scipy.special import stdtrit  # a tenth of the import time of scipy.stats

    return float(stdtrit(degrees, 0.975))
