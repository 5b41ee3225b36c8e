"""Codes against torch's fake-quantise and against their definition."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dqrun.errors import ConfigError
from dqrun.quant import QuantSpec, UniformRounding

specs = st.builds(QuantSpec, bits=st.integers(2, 8), signed=st.booleans(), symmetric=st.booleans()) | st.builds(
    QuantSpec, bits=st.integers(2, 8), symmetric=st.booleans(), narrow=st.just(True)
)
bounds = st.tuples(
    st.floats(-1e4, 1e4, width=32, allow_subnormal=False), st.floats(-1e4, 1e4, width=32, allow_subnormal=False)
).map(sorted)


@given(spec=specs, bound=bounds)
def test_zero_is_representable(spec: QuantSpec, bound: list[float]) -> None:
    low, high = torch.tensor(bound)
    scales = spec.scales(low, high)
    code = spec.encode(torch.zeros(1), scales)
    assert spec.decode(code, scales).item() == 0.0
    assert spec.qmin <= int(scales.zero_point) <= spec.qmax
    assert scales.scale > 0


@given(spec=specs, bound=bounds, values=st.lists(st.floats(-2e4, 2e4, width=32), min_size=1, max_size=20))
def test_encode_decode_is_idempotent_and_within_half_a_step(
    spec: QuantSpec, bound: list[float], values: list[float]
) -> None:
    low, high = torch.tensor(bound)
    scales = spec.scales(low, high)
    x = torch.tensor(values)
    codes = spec.encode(x, scales)
    assert int(codes.min()) >= spec.qmin and int(codes.max()) <= spec.qmax
    y = spec.decode(codes, scales)
    assert torch.equal(spec.encode(y, scales), codes)
    inside = (codes > spec.qmin) & (codes < spec.qmax)
    limit = scales.scale.double() * (0.5 + 1e-5) + x.abs().double() * 1e-6
    assert bool(((y.double() - x.double()).abs() <= limit)[inside].all())


@given(bits=st.integers(2, 8), signed=st.booleans(), bound=bounds, seed=st.integers(0, 1000))
def test_affine_grid_equals_torch(bits: int, signed: bool, bound: list[float], seed: int) -> None:
    spec = QuantSpec(bits, signed)
    scales = spec.scales(*torch.tensor(bound))
    x = torch.randn(64, generator=torch.Generator().manual_seed(seed)) * max(1e-3, abs(bound[1]), abs(bound[0]))
    ours = spec.decode(spec.encode(x, scales), scales)
    most = 1e18 * float(scales.scale)  # torch 2.8 does not saturate codes beyond int64
    steps = float(scales.scale), int(scales.zero_point), spec.qmin, spec.qmax
    theirs = torch.fake_quantize_per_tensor_affine(x.clamp(-most, most), *steps)
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize(
    ("spec", "qmin", "qmax"),
    [
        (QuantSpec(8), -128, 127),
        (QuantSpec(8, signed=False), 0, 255),
        (QuantSpec(4, symmetric=True, narrow=True), -7, 7),
        (QuantSpec(4, symmetric=True), -8, 7),
        (QuantSpec(4, signed=False, symmetric=True), 0, 15),
        (QuantSpec(2), -2, 1),
    ],
)
def test_codes(spec: QuantSpec, qmin: int, qmax: int) -> None:
    assert (spec.qmin, spec.qmax) == (qmin, qmax)


def test_symmetric_grid_has_zero_point_zero() -> None:
    scales = QuantSpec(8, symmetric=True).scales(torch.tensor(-3.0), torch.tensor(1.0))
    assert int(scales.zero_point) == 0
    assert float(scales.scale) == pytest.approx(3 / 127)


def test_a_range_of_zeros_keeps_zero_and_clips_the_rest() -> None:
    spec = QuantSpec(4)
    scales = spec.scales(torch.tensor(0.0), torch.tensor(0.0))
    y = spec.decode(spec.encode(torch.tensor([0.0, 1.0, -5.0]), scales), scales)
    assert y.abs().max() < 1e-30 and torch.isfinite(y).all()


@pytest.mark.parametrize("spec", [QuantSpec(4, collapsed="unit"), QuantSpec(4, signed=False, collapsed="unit")])
def test_a_unit_grid_of_a_range_of_zeros_holds_integers(spec: QuantSpec) -> None:
    zero = torch.tensor(0.0)
    scales = spec.scales(zero, zero)
    assert (scales.scale.item(), scales.zero_point.item(), scales.zero_point.dtype) == (1.0, 0, torch.int32)
    assert spec.scales(torch.tensor(2.0), torch.tensor(3.0)) == replace(spec, collapsed="zero").scales(zero, zero + 3)
    assert spec.scales(zero, zero + 1e-30)[0].item() == torch.finfo(torch.float32).eps
    symmetric = replace(spec, symmetric=True).scales(zero, zero)
    assert (symmetric.scale.item(), symmetric.zero_point.item(), symmetric.offset) == (1.0, 0, None)


@pytest.mark.parametrize("bits", [9, 0, -4])
def test_bits_outside_are_refused(bits: int) -> None:
    with pytest.raises(ConfigError, match=r"spec\.bits must be in 1\.\.8"):
        QuantSpec(bits)


def test_one_bit_is_not_for_uniform_rounding_and_unsigned_grids_are_not_narrow() -> None:
    with pytest.raises(ConfigError, match=r"spec\.bits must be in 2\.\.8 for uniform rounding, got 1"):
        UniformRounding(QuantSpec(1, symmetric=True, narrow=True))
    with pytest.raises(ConfigError, match=r"spec\.symmetric and spec\.narrow must be true for a signed grid of 1 bit"):
        QuantSpec(1)
    with pytest.raises(ConfigError, match=r"spec\.narrow must be false for an unsigned grid"):
        QuantSpec(4, signed=False, narrow=True)


def test_scales_of_several_ranges_are_those_of_each() -> None:
    low, high = torch.tensor([[-1.0], [0.0], [2.0]]), torch.tensor([[3.0], [0.0], [5.0]])
    for spec in (QuantSpec(4), QuantSpec(4, symmetric=True, headroom=0.1), QuantSpec(4, collapsed="unit")):
        scales = spec.scales(low, high)
        for i in range(3):
            one = spec.scales(low[i, 0], high[i, 0])
            assert (scales.scale[i, 0], scales.zero_point[i, 0]) == (one.scale, one.zero_point)


def test_headroom_widens_both_ends() -> None:
    low, high = torch.tensor(-1.0), torch.tensor(3.0)
    wide = QuantSpec(4, headroom=0.25).scales(low, high)
    assert wide == QuantSpec(4).scales(1.25 * low, 1.25 * high)
    assert wide[0].item() == pytest.approx(5 / 15)
    assert QuantSpec(4, symmetric=True, headroom=0.5).scales(low, high)[0].item() == pytest.approx(4.5 / 7)


def test_symmetric_unsigned_grids_reach_the_upper_end() -> None:
    scales = QuantSpec(4, signed=False, symmetric=True).scales(torch.tensor(-9.0), torch.tensor(3.0))
    assert (scales.scale.item(), scales.zero_point.item()) == (pytest.approx(3 / 15), 0)
