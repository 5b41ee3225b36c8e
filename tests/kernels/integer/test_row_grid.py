"""Codes of rows with ranges of their own: those of training, and compiled kernels that give the reference's."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from dqrun.errors import ConfigError
from dqrun.graphs import CSR
from dqrun.kernels.integer import CodeGrid, Codes, Epilogue, RowGrid, Weight, cpu, reference
from dqrun.quant import ROW, QuantSpec, RowRange
from dqrun.quant.rounding import UniformRounding
from dqrun.quant.values import Values

GRIDS = [
    *(RowGrid(bits, offset) for bits in (2, 8) for offset in ("inside", "integer", "real")),
    RowGrid(4, "integer", power_of_two=True, headroom=0.0037),
    RowGrid(3, "real", power_of_two=True, share=0.8),
    RowGrid(4, "symmetric", spare=1),
    RowGrid(4, "symmetric", headroom=0.0037),
]
by_grid = pytest.mark.parametrize("grid", GRIDS, ids=str)


def numbers(num_rows: int, channels: int, seed: int = 0) -> Tensor:
    """Rows of different size, one of zeros, one that is constant, one far from zero."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(num_rows, channels, generator=generator) * torch.logspace(-3, 3, num_rows).unsqueeze(1)
    x[:3] = torch.tensor([[0.0], [2.5], [-100.0]])
    x[2] += torch.linspace(0, 1, channels)
    return x


def codes(num_rows: int, channels: int, grid: RowGrid, seed: int = 0) -> Codes:
    return reference.quantize(numbers(num_rows, channels, seed), grid)


def epilogues(num_rows: int, channels: int, grid: RowGrid) -> list[Epilogue]:
    generator = torch.Generator().manual_seed(1)
    parts = [torch.randn(channels, dtype=torch.float64, generator=generator) for _ in range(4)]
    scale = torch.rand(num_rows, dtype=torch.float64, generator=generator)
    residual = codes(num_rows, channels, grid, 2)
    return [
        Epilogue(parts[0], scale, bias=parts[1], activation="relu", residual=residual, grid=grid),
        Epilogue(parts[0], bias=parts[1], pre_relu=True, gain=parts[2], offset=parts[3], activation="elu", grid=grid),
        Epilogue(parts[0], scale),
        Epilogue(parts[0], grid=CodeGrid(4, 0.3, 7)),
    ]


def equal(ours: Codes | Tensor, theirs: Codes | Tensor) -> bool:
    if not isinstance(ours, Codes) or not isinstance(theirs, Codes):
        return isinstance(ours, Tensor) and isinstance(theirs, Tensor) and torch.equal(ours, theirs)
    same = ours.numbers is None or (theirs.numbers is not None and torch.equal(ours.numbers, theirs.numbers))
    return same and ours.grid == theirs.grid and torch.equal(ours.data, theirs.data)


@pytest.mark.parametrize("power_of_two", [False, True])
@pytest.mark.parametrize("headroom", [0.0, 0.0037])
@pytest.mark.parametrize(
    ("offset", "options"),
    [
        *((offset, {}) for offset in ("inside", "integer", "real")),
        ("symmetric", {"symmetric": True, "narrow": True}),
        ("symmetric", {"symmetric": True, "signed": False}),
    ],
)
def test_they_stand_for_the_numbers_of_training(
    offset: str, options: dict[str, Any], headroom: float, power_of_two: bool
) -> None:
    x = numbers(40, 9)
    kind = "inside" if offset == "symmetric" else offset
    how = {"headroom": headroom, "power_of_two": power_of_two}
    spec = QuantSpec(4, granularity=ROW, offset=kind, **how, **options)
    found = reference.quantize(x, RowGrid(4, offset, spare=int(spec.narrow), **how))
    trained = UniformRounding(spec)(Values(x), RowRange(spec)(Values(x)))
    assert found.unpack().unique().numel() > 8 and found.numbers is not None
    far = (found.decode() - trained).abs() / found.numbers[
        :, :1
    ]  # in steps; training rounds s q and s q + o to float32
    assert far.max() < 1e-4


@by_grid
@pytest.mark.parametrize("channels", [1, 16, 33])
def test_quantize(grid: RowGrid, channels: int) -> None:
    x = numbers(20, channels)
    x[5, 0] = 1e30  # clamped
    assert equal(cpu.quantize(x, grid), reference.quantize(x, grid))


@by_grid
def test_products(grid: RowGrid) -> None:
    x, y = codes(30, 35, grid), codes(30, 7, grid, 3)
    generator = torch.Generator().manual_seed(4)
    weight, second = (Weight(torch.randint(-7, 8, (19, k), generator=generator, dtype=torch.int8)) for k in (35, 7))
    ratio = torch.rand(19, dtype=torch.float64, generator=generator)
    for epilogue in epilogues(30, 19, grid):
        assert equal(cpu.linear(x, weight, epilogue), reference.linear(x, weight, epilogue))
        pair = x, weight, y, second, ratio, epilogue
        assert equal(cpu.linear_pair(*pair), reference.linear_pair(*pair))


@by_grid
@pytest.mark.parametrize("channels", [7, 130])
def test_sums_over_edges(random_graph: Any, grid: RowGrid, channels: int) -> None:
    csr, x = random_graph(40, 300, "both"), codes(40, channels, grid)
    for epilogue in epilogues(40, channels, grid):
        for own in (None, 1.3):
            assert equal(cpu.aggregate(csr, x, own, epilogue), reference.aggregate(csr, x, own, epilogue))
        assert equal(cpu.aggregate_mean(csr, x, epilogue), reference.aggregate_mean(csr, x, epilogue))


@pytest.mark.usefixtures("num_threads")
def test_a_hub_over_threads() -> None:
    """Parts begin and end within it; scales are powers of two near one another, so that sums are exact in any order."""
    generator = torch.Generator().manual_seed(0)
    index = torch.randint(0, 2000, (2, 120_000), generator=generator)
    index[1, :108_000] = 700
    csr, grid = CSR.from_edge_index(index, 2000), RowGrid(4, "integer", power_of_two=True)
    x = reference.quantize(torch.randn(2000, 33, generator=generator), grid)
    for epilogue in epilogues(2000, 33, grid)[:2]:
        assert equal(cpu.aggregate(csr, x, 1.5, epilogue), reference.aggregate(csr, x, 1.5, epilogue))


@pytest.mark.parametrize("spread", [0, 12, 30])
@pytest.mark.parametrize("bits", [4, 8])
def test_sums_of_shifted_codes(bits: int, spread: int) -> None:
    """Scales that are powers of two: sums that fit int32 and, of scales 2^30 apart, sums that do not."""
    generator = torch.Generator().manual_seed(bits)
    csr = CSR.from_edge_index(
        torch.cat([torch.randint(9, (2, 60), generator=generator), torch.arange(9).repeat(2, 1)], 1), 9
    )
    for channels in (5, 40, 130):
        x = torch.randn(9, channels, generator=generator) * 2.0 ** (spread * (torch.arange(9) % 2)).unsqueeze(1)
        given, epilogue = (
            reference.quantize(x, RowGrid(bits, power_of_two=True)),
            Epilogue(torch.ones(1, dtype=torch.float64)),
        )
        assert torch.equal(cpu.aggregate(csr, given, None, epilogue), reference.aggregate(csr, given, None, epilogue))


@by_grid
@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_segments(grid: RowGrid, mode: str) -> None:
    x, ptr = codes(30, 21, grid), torch.tensor([0, 4, 4, 30])
    for epilogue in epilogues(3, 21, grid):
        ours, theirs = cpu.segment_reduce(x, ptr, mode, epilogue), reference.segment_reduce(x, ptr, mode, epilogue)
        assert equal(ours, theirs)


@pytest.mark.parametrize("grid", GRIDS[1::3], ids=str)
@pytest.mark.parametrize("concat", [True, False])
def test_attention(random_graph: Any, grid: RowGrid, concat: bool) -> None:
    csr, h = random_graph(40, 300, "both"), reference.quantize(numbers(40, 6).clamp(-3, 3), grid)
    a = torch.randn(2, 2, 3, generator=torch.Generator().manual_seed(0))
    epilogue = Epilogue(torch.ones(1, dtype=torch.float64))
    ours, theirs = (each.attention(csr, h, a[0], a[1], 0.2, concat, epilogue) for each in (cpu, reference))
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_sums_are_those_of_real_numbers(random_graph: Any) -> None:
    csr, x = random_graph(20, 60), codes(20, 5, RowGrid(4, "real"))
    y = reference.aggregate(csr, x, None, Epilogue(torch.ones(1, dtype=torch.float64)))
    expected = torch.zeros(20, 5, dtype=torch.float64).index_add_(0, csr.row, x.real()[csr.col])
    assert isinstance(y, Tensor)
    torch.testing.assert_close(y, expected.float())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RowGrid(9), r"row_grid.bits must be in 1\.\.8, got 9"),
        (lambda: RowGrid(4, "near"), "row_grid.offset must be one of inside, integer, real, symmetric, got 'near'"),
        (lambda: RowGrid(4, spare=1), "row_grid.spare must be 0, or 1 on a symmetric grid from 2 bits on, got 1"),
        (lambda: RowGrid(4, headroom=float("nan")), r"row_grid.headroom must be in 0\.\.1, got nan"),
        (lambda: RowGrid(4, share=0.0), r"row_grid.share must be in 0\.\.64, got 0.0"),
        (lambda: Codes.of(torch.ones(2, 3), RowGrid(4)), "codes.numbers must be given for a grid of each row"),
        (lambda: Codes.of(torch.ones(2, 3), CodeGrid(4, 1, 0), torch.ones(2, 2)), "codes.numbers must be given for"),
        (lambda: Codes.of(torch.ones(2, 3), RowGrid(4), torch.ones(3, 2)), r"codes.numbers must be float32 \[2, 2\]"),
    ],
)
def test_what_is_no_grid_of_rows(make: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()
