"""The fixed-point rule of requantisation, against exact arithmetic and against the float64 rule."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
import torch
from torch import Tensor

from dqrun.errors import ConfigError
from dqrun.graphs import CSR
from dqrun.kernels.integer import CodeGrid, Codes, Epilogue, reference
from dqrun.kernels.integer.fixed import Factor, FixedEpilogue, RowFactor
from dqrun.kernels.integer.fixed_attention import FixedAttention, weighted_mean
from dqrun.kernels.integer.fixed_numbers import exp2_negative, round_shift

CHANNELS = 6


def numbers(*shape: int, seed: int = 0, largest: int = 1000) -> Tensor:
    return torch.randint(-largest, largest, shape, generator=torch.Generator().manual_seed(seed))


def reals(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("shift", [0, 1, 2, 31, 62, 63])
def test_a_shift_rounds_halves_away_from_zero(shift: int) -> None:
    near = [k * 2**shift // 2 + d for k in range(-3, 4) for d in (-1, 0, 1)]
    values = [v for v in [*near, 5, -5, 2**61, -(2**61)] if abs(v) <= 2**61]

    def rounded(value: int) -> int:
        return int(math.copysign(math.floor(abs(Fraction(value, 2**shift)) + Fraction(1, 2)), value))

    found = round_shift(torch.tensor(values), torch.tensor(shift))
    assert found.tolist() == [rounded(value) for value in values]


def test_factors_have_31_bits() -> None:
    values = torch.tensor([0.75, -1.0, 2.0**29, 1 - 2.0**-40, 1e-5, math.pi, 0.0, 2.0**-40, 1e-30])
    made = Factor.of(values.double())
    for value, mantissa, shift in zip(values.tolist(), made.mantissa.tolist(), made.shift.tolist(), strict=True):
        assert 1 <= shift <= 62 and (2**30 <= abs(mantissa) < 2**31 or mantissa == 0)
        assert math.isclose(mantissa * 2.0**-shift, value, rel_tol=2**-31, abs_tol=2**-33)
    assert (made.mantissa == 0).tolist() == [False, False, False, False, False, False, True, True, True]


def test_row_factors() -> None:
    degree = torch.tensor([0, 1, 2, 3, 4, 5, 7, 1023, 1024, 8_421_504])
    root, inverse = RowFactor.inverse_root(degree), RowFactor.reciprocal(degree)
    for i, d in enumerate(degree.tolist()):
        real = root.mantissa[i].item() * 2.0 ** -(30 + root.shift[i].item())
        assert math.isclose(real, 0.0 if d == 0 else d**-0.5, rel_tol=2**-29)
        assert inverse.mantissa[i].item() * 2.0 ** -(30 + inverse.shift[i].item()) == pytest.approx(
            1 / max(d, 1), rel=2**-29
        )
        assert 2**29 <= inverse.mantissa[i] <= 2**30 and (d == 0 or 2**29 <= root.mantissa[i] <= 2**30)


def test_powers_of_two() -> None:
    x = torch.arange(0, 40 << 20, 997)
    expected = torch.exp2(-x.double() / 2**20)
    found = exp2_negative(x)
    assert float((found / 2**30 - expected).abs().max()) < 2**-23
    assert bool((found.diff() <= 0).all()), "a larger exponent must not give a larger power"
    assert exp2_negative(torch.tensor([0, 1 << 20])).tolist() == [1 << 30, 1 << 29]


def test_weighted_means() -> None:
    total = torch.tensor([[1 << 30], [(1 << 30) + 12345], [(1 << 40) + 987], [0]])
    share = torch.tensor([[255.0, -255.0, 0.001]], dtype=torch.float64)
    sums = (total.double() * share).long()
    expected = torch.where(total > 0, share, 0.0)
    assert float((weighted_mean(sums, total) / 2**22 - expected).abs().max()) < 2**-20


ROWS = 400

CASES: list[dict[str, Any]] = [
    {},
    {"bias": True},
    {"bias": True, "activation": "relu"},
    {"bias": True, "pre_relu": True},
    {"gain": True},
    {"bias": True, "gain": True, "activation": "elu"},
    {"bias": True, "gain": True, "pre_relu": True},
    {"bias": True, "gain": True, "pre_relu": True, "activation": "relu", "residual": True},
    {"gain": True, "activation": "elu", "residual": True, "rows": True},
    {"rows": True, "ratio": True, "residual": True},
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: " ".join(case) or "plain")
@pytest.mark.parametrize("bits", [4, 8])
def test_codes_are_those_of_the_float64_rule(case: dict[str, Any], bits: int) -> None:
    """They are equal, except where the float64 value lies so near the middle of two codes that 20 bits cannot tell."""
    grid, beside = CodeGrid(bits, 0.05 if bits == 8 else 0.7, 3), CodeGrid(8, 0.02, 100)
    affine = {"gain": reals(CHANNELS, seed=3), "offset": reals(CHANNELS, seed=4)} if case.get("gain") else {}
    epilogue = Epilogue(
        multiplier=reals(CHANNELS, seed=1).abs() * 0.003,
        bias=reals(CHANNELS, seed=2) if case.get("bias") else None,
        pre_relu=bool(case.get("pre_relu")),
        activation=case.get("activation", "none"),
        grid=grid,
        **affine,
    )
    acc, second = numbers(ROWS, CHANNELS, seed=5, largest=3000), numbers(ROWS, CHANNELS, seed=6, largest=2000)
    residual = Codes.of(numbers(ROWS, CHANNELS, seed=7, largest=128) + 128, beside) if case.get("residual") else None
    degree = torch.arange(ROWS)
    ratio = torch.full((1,), 1.37, dtype=torch.float64) if case.get("ratio") else None
    fixed = FixedEpilogue.of(epilogue, ratio=ratio, residual=None if residual is None else beside)
    roots = torch.where(degree > 0, degree.double() ** -0.5, 0.0) if case.get("rows") else None
    given = replace(epilogue, residual=residual, row_scale=roots)
    real = acc.double() if ratio is None else acc.double() + ratio * second.double()
    expected = reference.finish(real, given)
    rows = RowFactor.inverse_root(degree) if case.get("rows") else None
    found = fixed.finish(acc, None if ratio is None else second, rows, residual)
    assert isinstance(expected, Codes) and isinstance(found, Codes)
    assert torch.equal(found.unpack(), expected.unpack())
    assert expected.unpack().unique().numel() > 8, "a test of few codes shows little"


def test_logits_are_int32_in_a_unit_that_is_a_power_of_two() -> None:
    epilogue = Epilogue(reals(CHANNELS, seed=1) * 1e-3, bias=reals(CHANNELS, seed=2))
    fixed, acc = FixedEpilogue.of(epilogue, reach=3000.0), numbers(50, CHANNELS, largest=3000)
    logits = fixed.finish(acc)
    assert isinstance(logits, Tensor) and logits.dtype == torch.int32
    expected = acc.double() * epilogue.multiplier + epilogue.bias
    assert float((logits.double() * fixed.scale - expected).abs().max()) <= 1.5 * fixed.scale
    assert math.log2(fixed.scale).is_integer() and fixed.scale < 1e-7
    beyond = fixed.finish(torch.full((1, CHANNELS), 2**31 - 1))
    assert isinstance(beyond, Tensor) and int(beyond.abs().max()) == 2**31 - 1  # saturated, not wrapped


def test_an_elu_reaches_minus_one() -> None:
    grid = CodeGrid(8, 1 / 200, 200)
    fixed = FixedEpilogue.of(Epilogue(torch.tensor([1e-3], dtype=torch.float64), activation="elu", grid=grid))
    codes = fixed.finish(torch.tensor([[-(2**31) + 1], [-40_000], [-1000], [0], [200]]))
    assert isinstance(codes, Codes)
    assert codes.unpack().flatten().tolist() == [0, 0, round(200 + 200 * math.expm1(-1)), 200, 240]


def test_what_no_int32_holds_is_refused() -> None:
    with pytest.raises(ConfigError, match="must have numbers that int32 holds in fixed point"):
        FixedEpilogue.of(Epilogue(torch.tensor([1e10], dtype=torch.float64), grid=CodeGrid(8, 1.0, 0)))
    with pytest.raises(ConfigError, match=r"attention must stay within 2\^11 a step"):
        FixedAttention.of(torch.full((2, 1, 1), 3000.0), 1.0, 0.2, True)


@pytest.mark.parametrize("concat", [True, False])
def test_attention_is_a_softmax(concat: bool) -> None:
    edges = torch.randint(20, (2, 60), generator=torch.Generator().manual_seed(1))
    csr, grid = CSR.from_edge_index(edges, 21), CodeGrid(8, 0.05, 100)  # node 20 has no edges
    h = Codes.of(numbers(21, 3 * 4, seed=2, largest=128) + 128, grid)
    vectors = reals(2, 3, 4, seed=3).float()
    fixed = FixedAttention.of(vectors, grid.scale, 0.2, concat)
    epilogue = Epilogue(torch.ones(1, dtype=torch.float64))
    exact = reference.attention(csr, h, *vectors.double(), 0.2, concat, epilogue)
    assert isinstance(exact, Tensor)
    assert float((fixed(csr, h).double() * fixed.unit - exact).abs().max()) < 1e-3
    assert not fixed(csr, h)[20].any()
