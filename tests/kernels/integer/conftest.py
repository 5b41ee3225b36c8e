"""Grids, codes, weights and epilogues that the tests of the integer kernels share."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from dqrun.kernels.integer import CodeGrid, Codes, Epilogue, Weight


def grid_of(bits: int) -> CodeGrid:
    """A grid with its zero in the lower half."""
    return CodeGrid(bits, 0.037, (1 << bits) // 3)


def random_codes(num_rows: int, channels: int, bits: int, seed: int = 0) -> Codes:
    generator = torch.Generator().manual_seed(seed)
    return Codes.of(torch.randint(0, 1 << bits, (num_rows, channels), generator=generator), grid_of(bits))


def random_weight(outputs: int, inputs: int, bits: int = 8, seed: int = 1) -> Weight:
    top = (1 << (bits - 1)) - 1
    generator = torch.Generator().manual_seed(seed)
    codes = torch.randint(-top, top + 1, (outputs, inputs), generator=generator, dtype=torch.int8)
    return Weight(
        codes if bits > 1 else torch.where(torch.rand(outputs, inputs, generator=generator) < 0.5, -1, 1).char()
    )


def random_epilogue(kind: str, num_rows: int, channels: int, bits: int | None, step: float, seed: int = 2) -> Epilogue:
    """`step`: real size of one unit of the sums; `bits` None: float32 comes out."""
    generator = torch.Generator().manual_seed(seed)

    def normal(size: int) -> Tensor:
        return torch.randn(size, dtype=torch.float64, generator=generator)

    grid, everything = None if bits is None else grid_of(bits), kind == "everything"
    residual = random_codes(num_rows, channels, bits or 8, 3) if kind == "residual" or everything else None
    return Epilogue(
        multiplier=torch.full((1,), step, dtype=torch.float64) if kind == "plain" else step * (1 + normal(channels)),
        row_scale=normal(num_rows).abs() if kind == "normalised" or everything else None,
        bias=None if kind == "plain" else normal(channels),
        pre_relu=everything,
        gain=normal(channels) if everything else None,
        offset=normal(channels) if everything else None,
        activation={"normalised": "relu", "elu": "elu", "everything": "elu"}.get(kind, "none"),
        residual=residual,
        grid=grid,
    )


def equal(ours: Codes | Tensor, theirs: Codes | Tensor) -> bool:
    """Whether two results are the same, bit for bit."""
    if isinstance(ours, Codes) and isinstance(theirs, Codes):
        return ours.grid == theirs.grid and ours.channels == theirs.channels and torch.equal(ours.data, theirs.data)
    assert isinstance(ours, Tensor) and isinstance(theirs, Tensor)
    return torch.equal(ours, theirs) and ours.dtype == theirs.dtype == torch.float32


@pytest.fixture(scope="session")
def make() -> type[Make]:
    return Make


class Make:
    """The builders above, for tests that get them as one fixture."""

    grid: Callable[..., CodeGrid] = staticmethod(grid_of)
    codes: Callable[..., Codes] = staticmethod(random_codes)
    weight: Callable[..., Weight] = staticmethod(random_weight)
    epilogue: Callable[..., Epilogue] = staticmethod(random_epilogue)
    equal: Callable[..., bool] = staticmethod(equal)
    kinds = ("plain", "normalised", "residual", "elu", "everything")
