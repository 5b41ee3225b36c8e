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


@pytest.mark.parametrize("bits", range(1, 9))
def test_stored_codes_come_back(make, bits: int) -> None:
    weight = make.weight(5, 13, bits)
    stored = weight.packed(bits)
    assert stored.dtype == (torch.uint8 if bits <= 4 else torch.int8)
    assert stored.shape == (5, {1: 2, 2: 4, 3: 7, 4: 7}.get(bits, 13))
    assert torch.equal(Weight.of_packed(stored, 13, bits).codes, weight.codes)


def test_what_is_stored_of_a_code() -> None:
    assert Weight(torch.tensor([[-1, 1, 1]], dtype=torch.int8)).packed(1).tolist() == [[0b110]]
    assert Weight(torch.tensor([[-1, 0, 1, 1, -1]], dtype=torch.int8)).packed(2).tolist() == [[0b01_11_01, 0b11_10]]
    assert Weight(torch.tensor([[-7, 0, 3]], dtype=torch.int8)).packed(3).tolist() == [[0xB1, 8]]


def test_the_signs_are_words_of_the_stored_bits(make) -> None:
    weight = make.weight(17, 70, 1)
    bits, channels = weight.signs
    stored, words = weight.packed(1), bits.view(2, 3, 16)
    by_row = words.transpose(1, 2).reshape(32, 3).contiguous().view(torch.uint8)
    assert torch.equal(by_row[:17, :9], stored) and not by_row[17:].any() and not by_row[:, 9:].any()
    every = Weight(torch.ones(1, 70, dtype=torch.int8)).packed(1)
    assert torch.equal(channels.view(torch.uint8)[:9], every[0]) and not channels.view(torch.uint8)[9:].any()


def test_row_sums_do_not_wrap() -> None:
    assert Weight(torch.full((1, 1000), 127, dtype=torch.int8)).row_sums.tolist() == [127000]


def test_other_types_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"weight.codes must be int8 \[M, K\], got 'torch.float32 \[2\]"):
        Weight(torch.zeros(2))
