"""Packed codes: what comes out is what went in, and how many bytes it takes."""

from __future__ import annotations

import pytest
import torch

from dqrun.kernels.packing import BLOCK, pack_codes, packed_size, unpack_codes, width_of_codes


@pytest.mark.parametrize("width", [1, 2, 4, 8])
@pytest.mark.parametrize("elements", [0, 1, BLOCK - 1, BLOCK, 3 * BLOCK + 5])
def test_codes_come_back_from_as_few_bytes_as_their_width_allows(width: int, elements: int) -> None:
    codes = torch.randint(2**width, (elements,), generator=torch.Generator().manual_seed(elements))
    packed = pack_codes(codes, width)
    assert packed.dtype == torch.uint8 and packed.numel() == packed_size(elements, width)
    assert 0 <= packed.numel() * 8 - elements * width < BLOCK * width
    assert torch.equal(unpack_codes(packed, width, elements), codes.int())


def test_a_code_lies_in_the_next_of_the_widths_that_fill_a_byte() -> None:
    assert [width_of_codes(0, 2**bits - 1) for bits in range(1, 9)] == [1, 2, 4, 4, 8, 8, 8, 8]
    assert width_of_codes(-8, 7) == 4 and width_of_codes(-7, 7) == 4 and width_of_codes(-128, 127) == 8
