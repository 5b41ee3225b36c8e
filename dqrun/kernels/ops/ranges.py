"""`tail_range` and `message_range`, which have no gradient."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from dqrun.kernels import reference
from dqrun.kernels.operator import CSR_PARTS, Operator
from dqrun.kernels.ops.sums import of_csr
from dqrun.kernels.reference import Range

SEEN = "Tensor? seen_low, Tensor? seen_high, str percentile"


def seen_range(low: Tensor | None, high: Tensor | None) -> Range | None:
    return None if low is None or high is None else (low, high)


def _range(x: Tensor, *_: Any) -> Range:
    return x.new_empty(()), x.new_empty(())


tail_range = Operator(
    f"tail_range(Tensor x, float tail, Tensor? row_weight, Tensor? protected, {SEEN}) -> (Tensor, Tensor)",
    lambda x, tail, row_weight, protected, low, high, percentile: reference.tail_range(
        x, tail, row_weight, protected, seen_range(low, high), percentile
    ),
    _range,
)
message_range = Operator(
    f"message_range(Tensor x, Tensor weight, float tail, Tensor? protected, {SEEN}, {CSR_PARTS}) -> (Tensor, Tensor)",
    of_csr(
        lambda csr, x, weight, tail, protected, low, high, percentile: reference.message_range(
            csr, x, weight, tail, protected, seen_range(low, high), percentile
        )
    ),
    _range,
)
