"""How numbers are written, and that names are only shown."""

import csv
import io
import math
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dqrun.analysis.text import (
    fixed,
    for_csv,
    for_latex,
    for_markdown,
    for_picture,
    for_terminal,
    format_difference,
    format_p,
    from_csv,
    text_of,
)
from dqrun.errors import ConfigError, DataError


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (1e12, 2, "1.00000e+12"),
        (-1.23456789e27, 2, "-1.23457e+27"),
        (999999999999.0, 0, "999999999999"),
        (math.inf, 2, "inf"),
        (81.475, 2, "81.48"),
        (81.47500000000001, 2, "81.48"),
        (-0.125, 2, "-0.13"),
        (3.0, 2, "3.00"),
        (0.5, 0, "1"),
    ],
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


HOSTILE = "\x1b]0;owned\x07\x1b[2J\r\n\u202egnp\x9b31m\ud800"


@pytest.mark.parametrize("write", [for_terminal, for_picture, for_markdown, for_latex])
def test_no_output_has_control_characters(write) -> None:
    written = write(HOSTILE)
    assert {unicodedata.category(character) for character in written} & {"Cc", "Cf", "Cs", "Zl", "Zp"} == set()
    assert "u202egnp" in written  # the characters are shown, not dropped
    written.encode("utf-8")


@pytest.mark.parametrize("write", [for_terminal, for_picture, for_markdown, for_latex])
def test_plain_names_stay_what_they_are(write) -> None:
    for name in ("REDDIT-BINARY", "int4 dq", "Données été", "分子", "train.lr (0.01, 0.02)"):
        assert write(name) == name
    assert for_markdown("test_metric -0.5") == "test_metric -0.5"


def test_errors_are_one_line_whatever_they_quote() -> None:
    error = ConfigError.rule("dataset.name", "be a name", "x")
    assert str(error) == "dataset.name must be a name, got 'x'"
    assert str(DataError("no file a\x1b[31m\nb.csv")) == r"no file a\x1b[31m\nb.csv"


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("<img src=x onerror=alert(1)>", "&lt;img src=x onerror=alert(1)&gt;"),
        ("a|b", r"a\|b"),
        ("[x](javascript:1)", r"\[x\](javascript:1)"),
        ("[**.mlp.**]", r"\[\*\*.mlp.\*\*\]"),
        ("_a_b_", r"\_a_b\_"),
        ("`c` $d$ ~e~ \\f &amp;", r"\`c\` \$d\$ \~e\~ \\f &amp;amp;"),
        ("# g", r"\# g"),
        ("- h", r"\- h"),
    ],
)
def test_markdown(text: str, written: str) -> None:
    assert for_markdown(text) == written


def test_latex() -> None:
    assert for_latex(r"a_b & 5% #1 $x$ {y} \n") == r"a\_b \& 5\% \#1 \$x\$ \{y\} \textbackslash{}n"
    assert for_latex("[head.*]") == "{[}head.{*}{]}"
    assert for_latex("a^b~c<d>e|") == r"a\textasciicircum{}b\textasciitilde{}c\textless{}d\textgreater{}e\textbar{}"


@pytest.mark.parametrize("text", ["=1+1", "@SUM(A1)", "+cmd|'/c'!A0", "-1+1", "\t=1", "\r=1", "\n=1", "'=1", "''=1"])
def test_formulas_in_csv_are_text_and_read_back(text: str) -> None:
    assert for_csv(text) == f"'{text}" and from_csv(f"'{text}") == text


@given(st.text(alphabet="'=+-@ab1.\t\r\n, \"") | st.text())
def test_csv_cells_read_back(text: str) -> None:
    file = io.StringIO()
    csv.writer(file).writerow([for_csv(text), "end"])
    ((cell, _),) = csv.reader(io.StringIO(file.getvalue(), newline=""))
    assert from_csv(cell) == text


@pytest.mark.parametrize("value", [-0.5, "-0.5", "+3", "-inf", None, True, "it's", "'a'"])
def test_numbers_and_harmless_text_stay_in_csv(value: object) -> None:
    assert for_csv(value) is value
