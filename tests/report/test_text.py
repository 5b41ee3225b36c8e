"""How numbers are written."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dqrun.report.text import fixed, format_difference, format_p, text_of


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [(81.475, 2, "81.48"), (81.47500000000001, 2, "81.48"), (-0.125, 2, "-0.13"), (3.0, 2, "3.00"), (0.5, 0, "1")],
)
def test_halves_are_rounded_away_from_zero_whatever_the_noise(value: float, digits: int, text: str) -> None:
    assert fixed(value, digits) == text


@given(st.floats(-1e4, 1e4), st.integers(0, 4))
def test_rounding_is_within_half_a_digit(value: float, digits: int) -> None:
    assert abs(float(fixed(value, digits)) - value) <= 0.5000001 * 10**-digits


def test_differences_carry_their_sign() -> None:
    assert format_difference(0.0805, "accuracy") == "+8.05"
    assert format_difference(-0.0123, "mae") == "-0.0123"
    assert format_difference(math.nan, "mae") == "-"


@pytest.mark.parametrize(
    ("p", "text"), [(math.nan, "-"), (1e-9, "<0.0001"), (0.00035, "0.00035"), (0.048, "0.048"), (1.0, "1.000")]
)
def test_p_values(p: float, text: str) -> None:
    assert format_p(p) == text


def test_empty_fields() -> None:
    assert [text_of(value) for value in (None, math.nan, 0, "x", False)] == ["", "", "0", "x", "False"]
    assert [text_of(value) for value in ([], ["head.*", "b"], [1])] == ["[]", "[head.*,b]", "[1]"]
