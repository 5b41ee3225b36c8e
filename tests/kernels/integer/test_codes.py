"""How codes are stored."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dqrun.errors import ConfigError
from dqrun.kernels.integer import CodeGrid, Codes, pack_nibbles, unpack_nibbles
from dqrun.kernels.integer.codes import SLACK
from dqrun.quant import QuantSpec, Scales


@given(st.integers(0, 5), st.integers(1, 9), st.integers(2, 8))
def test_codes_come_back(make, num_rows: int, channels: int, bits: int) -> None:
    values = torch.randint(0, 1 << bits, (num_rows, channels))
    codes = Codes.of(values, make.grid(bits))
    assert torch.equal(codes.unpack().long(), values)
    assert codes.data.size(1) == (-(-channels // 2) if bits <= 4 else channels)


def test_low_nibbles_are_the_first_half_of_the_channels() -> None:
    packed = pack_nibbles(torch.tensor([[1, 2, 3, 4, 5]], dtype=torch.uint8))
    assert packed.tolist() == [[1 + 16 * 4, 2 + 16 * 5, 3]]
    assert unpack_nibbles(packed, 5).tolist() == [[1, 2, 3, 4, 5]]


def test_packing_leaves_its_argument_alone() -> None:
    codes = torch.tensor([[7]], dtype=torch.uint8)
    packed = pack_nibbles(codes)
    packed[0, 0] = 0
    assert codes.item() == 7


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
        ((9, 1.0, 0), "code_grid.bits must be in 2..8, got 9"),
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
