"""Formats of numbers in tables, and of names in each kind of output. Imports little: `dqrun compare` starts at once.

Names of datasets, models, methods and the like are text of the user, or of the author of a results folder. For each
kind of output one function escapes such text, so that it is shown literally. The exception is HTML: jinja2 escapes what
its templates insert (`analysis/sheets.py`).
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Sequence
from decimal import ROUND_HALF_UP, Decimal

from dqrun.config.tasks import FRACTIONS
from dqrun.errors import printable

UNITS = {
    **dict.fromkeys(FRACTIONS, (100.0, 2, " %")),
    "integer_agreement": (100.0, 2, " %"),
    "integer_agreement_float32": (100.0, 2, " %"),
    "seconds": (1.0, 1, " s"),
    "setup_seconds": (1.0, 1, " s"),
    "seconds_per_epoch": (1.0, 3, " s"),
    "search_seconds": (1.0, 1, " s"),
    "peak_bytes": (2.0**-20, 1, " MiB"),
    "model_bytes": (2.0**-10, 1, " KiB"),
    "bit_operations": (1e-6, 2, " M"),
    "average_bits": (1.0, 2, ""),
    "epochs": (1.0, 1, ""),
    "best_epoch": (1.0, 1, ""),
    "parameters": (1.0, 1, ""),
}


def unit_of(metric: str) -> tuple[float, int, str]:
    """Factor, decimals and unit in which a metric or a column of the rows is shown; errors as they are."""
    return UNITS.get(metric, (1.0, 4, ""))


def format_mean(mean: float, half_width: float, metric: str) -> str:
    """`81.42 % +- 0.51` for a fraction (in percent), `0.4312 +- 0.0021` for an error; `-` without a value."""
    if math.isnan(mean):
        return "-"
    scale, digits, unit = unit_of(metric)
    spread = "" if math.isnan(half_width) else f" +- {fixed(half_width * scale, digits)}"
    return f"{fixed(mean * scale, digits)}{unit}{spread}"


def fixed(value: float, digits: int) -> str:
    """A number with so many decimals, halves away from zero.

    Accuracies are fractions of small integers, so means such as 81.475 are common, and rounding errors of a sum must
    not decide how they are rounded. From 1e12 on a number has six digits and an exponent.
    """
    if not abs(value) < 1e12:
        return f"{value:.5e}"
    return str(Decimal(f"{value:.{digits + 8}f}").quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP))


def format_difference(difference: float, metric: str) -> str:
    """`+8.05` (percentage points) for a fraction, `-0.0123` for an error; `-` without a value."""
    if math.isnan(difference):
        return "-"
    scale, digits, _ = unit_of(metric)
    return f"{'+' if difference >= 0 else ''}{fixed(difference * scale, digits)}"


def format_p(p: float) -> str:
    """A p-value with two digits, `<0.0001` below that; `-` without one."""
    if math.isnan(p):
        return "-"
    return "<0.0001" if p < 1e-4 else f"{p:.2g}" if p < 0.001 else f"{p:.3f}"


def text_of(value: object) -> str:
    """A field's value in a table, as one writes it on the command line: empty for None and nan."""
    if isinstance(value, list):
        return f"[{','.join(map(text_of, value))}]"
    return "" if value is None or value != value else str(value)


def for_terminal(text: str) -> str:
    """Text in one line of a terminal: no control character is left that could move the cursor or colour the screen."""
    return printable(text)


def for_picture(text: str) -> str:
    """Text in a picture: as in a terminal; `$` starts no formula where `plots.style` has switched formulas off."""
    return printable(text)


_MARKDOWN = re.compile(r"[\\`*\[\]|~$]|(?<![^\W_])_|_(?![^\W_])|^#|^[+-](?= )")  # underscores within words may stay
_MARKDOWN_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def for_markdown(text: str) -> str:
    """Text in GitHub-flavoured Markdown, also in a table: it starts no tag, link, emphasis, list or formula."""
    escaped = _MARKDOWN.sub(r"\\\g<0>", printable(text))
    return "".join(_MARKDOWN_ENTITIES.get(character, character) for character in escaped)


_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': r"\textquotedbl{}", "[": "{[}", "]": "{]}", "*": "{*}",
}  # fmt: skip
"""A line of a table that begins with `[` or `*` would be an argument of the `\\\\` before it."""


def for_latex(text: str) -> str:
    """Text in LaTeX, in a cell of a table or in a comment of one line."""
    return "".join(_LATEX.get(character, character) for character in printable(text))


_FORMULA = re.compile(r"'*[=+\-@\t\r\n]")


def for_csv(value: object) -> object:
    """A cell of a CSV file: text that a spreadsheet would take for a formula gets a leading `'`.

    Numbers, and text that is one, stay what they are. `from_csv` is the inverse.
    """
    if isinstance(value, str) and _FORMULA.match(value) and _number(value) is None:
        return f"'{value}"
    return value


def from_csv(text: str) -> str:
    """The text that `for_csv` wrote."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text


def csv_line(values: Sequence[object]) -> str:
    """A line of a CSV file that ends with LF: numbers as Python writes them, None and nan as empty cells.

    The writer quotes a line end within a cell only where it may end lines too: hence CR LF within this function.
    """
    stream = io.StringIO(newline="")
    csv.writer(stream, lineterminator="\r\n").writerow(map(_csv_cell, values))
    return stream.getvalue().removesuffix("\r\n") + "\n"


def _csv_cell(value: object) -> str:
    if isinstance(value, str | list):
        return str(for_csv(text_of(value)))
    return "" if value is None or value != value else repr(value)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
