"""What a quantiser is told of a tensor: how many of its values count, and why there are none."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dqrun.quant.values import Values

PROTECTED, TIMES = torch.tensor([True, False, False]), torch.tensor([5, 0, 2])


@pytest.mark.parametrize(
    ("protected", "multiplicity", "observed", "reason"),
    [
        (None, None, 6, "its tensor was empty"),
        (PROTECTED, None, 4, "every row was protected"),
        (None, TIMES, 14, "no edge carried one"),
        (PROTECTED, TIMES, 4, "no edge left an unprotected node"),
    ],
)
def test_rows_that_count(protected: Tensor | None, multiplicity: Tensor | None, observed: int, reason: str) -> None:
    values = Values(torch.ones(3, 2), protected, multiplicity)
    assert (values.observed, values.if_empty) == (observed, reason)
