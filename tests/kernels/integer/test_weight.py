"""The order in which the compiled product reads a weight."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dqrun.errors import ConfigError
from dqrun.kernels.integer import Weight
from dqrun.kernels.integer.weight import BLOCK


@given(st.integers(1, 150), st.integers(1, 11))
def test_every_code_is_where_it_is_looked_for(make, outputs: int, inputs: int) -> None:
    weight = make.weight(outputs, inputs)
    groups, start, padded = -(-inputs // 4), 0, -(-outputs // 16) * 16
    for first in range(0, padded, BLOCK):
        width = min(BLOCK, padded - first)
        block = weight.blocked[start : start + groups * width * 4].view(groups, width, 4)
        start += block.numel()
        rows = block.transpose(0, 1).reshape(width, groups * 4)
        real = weight.codes[first : first + width]
        assert torch.equal(rows[: real.size(0), :inputs], real)
        assert not rows[real.size(0) :].any() and not rows[:, inputs:].any()
    assert start == weight.blocked.numel()


def test_row_sums_do_not_wrap() -> None:
    assert Weight(torch.full((1, 1000), 127, dtype=torch.int8)).row_sums.tolist() == [127000]


def test_other_types_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"weight.codes must be int8 \[M, K\], got 'torch.float32 \[2\]"):
        Weight(torch.zeros(2))
