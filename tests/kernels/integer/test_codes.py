"""How codes are stored."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dqrun.errors import ConfigError
from dqrun.kernels.integer import CodeGrid, Codes, pack_codes, unpack_codes
from dqrun.kernels.integer.codes import SLACK
from dqrun.kernels.integer.stored import bits_behind, codes_per_byte, row_bytes, storage_bits
from dqrun.quant import QuantSpec, Scales


@given(st.integers(0, 5), st.integers(1, 20), st.integers(1, 8))
def test_codes_come_back(make, num_rows: int, channels: int, bits: int) -> None:
    values = torch.randint(0, 1 << bits, (num_rows, channels))
    codes = Codes.of(values, make.grid(bits))
    assert torch.equal(codes.unpack().long(), values)
    assert codes.data.shape == (num_rows, row_bytes(channels, bits)) and codes.data.is_contiguous()
    assert bits_behind(codes.data, channels, bits) == 0


def test_each_width_costs_what_its_class_does() -> None:
    assert [storage_bits(bits) for bits in range(1, 9)] == [1, 2, 4, 4, 8, 8, 8, 8]
    assert [codes_per_byte(bits) for bits in range(1, 9)] == [8, 4, 2, 2, 1, 1, 1, 1]
    assert [row_bytes(128, bits) for bits in (1, 2, 3, 8)] == [16, 32, 64, 128]
    assert CodeGrid(3, 1.0, 0).row_bytes(5) == 3


@pytest.mark.parametrize(
    ("bits", "codes", "stored"),
    [
        (1, [1, 0, 1, 1, 0, 1, 1, 1, 0, 1], [0b01011, 0b11110]),
        (2, [1, 2, 3, 0, 2], [1 + 4 * 3 + 16 * 2, 2]),
        (4, [1, 2, 3, 4, 5], [1 + 16 * 4, 2 + 16 * 5, 3]),
        (6, [1, 2, 3], [1, 2, 3]),
    ],
)
def test_consecutive_channels_lie_in_consecutive_bytes(bits: int, codes: list[int], stored: list[int]) -> None:
    packed = pack_codes(torch.tensor([codes], dtype=torch.uint8), bits)
    by_rule = [0] * row_bytes(len(codes), bits)
    for channel, code in enumerate(codes):
        by_rule[channel % len(by_rule)] |= code << (channel // len(by_rule) * storage_bits(bits))
    assert packed.tolist() == [by_rule] == [stored]
    assert unpack_codes(packed, len(codes), bits).tolist() == [codes]


def test_bits_behind_the_last_channel_are_seen() -> None:
    assert bits_behind(torch.tensor([[0, 0b1000]], dtype=torch.uint8), 7, 2) == 0
    assert bits_behind(torch.tensor([[0, 0b1000_0000]], dtype=torch.uint8), 7, 2) == 2


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_packing_leaves_its_argument_alone(bits: int) -> None:
    codes = torch.tensor([[1]], dtype=torch.uint8)
    packed = pack_codes(codes, bits)
    packed[0, 0] = 0
    assert codes.item() == 1


def test_decode_is_that_of_training() -> None:
    spec, scales = QuantSpec(8), Scales(torch.tensor(0.03), torch.tensor(-7, dtype=torch.int32))
    codes = torch.arange(-128, 128, dtype=torch.int32).unsqueeze(0)
    shifted = Codes.of(codes - spec.qmin, CodeGrid(8, scales.scale.item(), -7 - spec.qmin))
    assert torch.equal(shifted.decode(), spec.decode(codes, scales))


def test_empty_rows_have_readable_bytes_behind_them(make) -> None:
    codes = Codes.empty(3, 5, make.grid(4))
    assert codes.data.shape == (3, 3) and codes.nbytes == 9
    assert codes.data.untyped_storage().nbytes() == 9 + SLACK


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ((9, 1.0, 0), "code_grid.bits must be in 1..8, got 9"),
        ((4, 1.0, 16), "code_grid.zero_point must be in 0..15, got 16"),
        ((4, 0.0, 0), r"code_grid\.scale must be in 2\^-126\.\.2\^126, got 0\.0"),
    ],
)
def test_grids_that_are_none(grid: tuple[int, float, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        CodeGrid(*grid)


def test_data_of_another_shape_is_refused(make) -> None:
    with pytest.raises(ConfigError, match=r"codes.data must be uint8 \[N, 3\], got 'torch.uint8 \[2, 5\]"):
        Codes(torch.zeros(2, 5, dtype=torch.uint8), 5, make.grid(4))
