"""A strict reader for tables of numbers in plain text, the format of many published raw files."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dqrun.errors import DataError

_CHARACTERS = {"i": b"0123456789+-, \t\n", "f": b"0123456789+-.eE, \t\n", "l": b"01.,na\n"}
_NUMBER = {
    "i": re.compile(r"[+-]?[0-9]+"),
    "f": re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?"),
    "l": re.compile(r"[01](\.0*)?|nan|"),
}
_RULE = {"i": "an integer", "f": "a finite number in float32", "l": "0, 1 or empty"}


def exact_floats() -> dict[str, Any]:
    """Options that make `pandas.read_csv` round decimal numbers as Python does; none from pandas 3.1 on, which always
    does and warns of the option."""
    import pandas as pd

    return {} if tuple(map(int, pd.__version__.split(".")[:2])) >= (3, 1) else {"float_precision": "round_trip"}


def canonical_text(content: bytes) -> bytes:
    """The text without a byte order mark, with LF line ends (CRLF is converted) and exactly one after the last line."""
    text = content.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").rstrip(b"\n\t ")
    return text + b"\n" if text else b""


def float32(values: NDArray[np.float64]) -> NDArray[np.float32] | None:
    """The numbers rounded to float32, or None if one of them is not finite then."""
    with np.errstate(over="ignore"):
        rounded = values.astype(np.float32)
    return rounded if bool(np.isfinite(rounded).all()) else None


def read_numbers(path: Path, text: bytes, kind: str, columns: int | None = None) -> NDArray[Any]:
    """The comma-separated numbers of a canonical text, [lines, columns]: int64 (kind `i`), float32 (kind `f`), or
    labels (kind `l`), float32 0, 1 or nan (for an empty value or `nan`).

    Raises DataError that names `path`, the line, the rule and the value, for an empty file, a line with another number
    of values than the first (or than `columns`), a blank line, and a value that is no number or too large for the type.
    """
    if not text:
        raise DataError(f"{path}: the file is empty")
    values = None if text.translate(None, _CHARACTERS[kind]) else _parsed(text, kind)
    if values is None or (columns is not None and values.shape[1] != columns):
        raise _explained(path, text, kind, columns)
    return values


def _parsed(text: bytes, kind: str) -> NDArray[Any] | None:
    """All values at once, or None if one of them breaks a rule."""
    import pandas as pd  # imported here: a cached dataset does not need pandas

    try:
        frame = pd.read_csv(
            io.BytesIO(text), header=None, skipinitialspace=True, skip_blank_lines=False, quoting=3,
            dtype=np.int64 if kind == "i" else np.float64, **exact_floats(),
        )  # fmt: skip
    except (ValueError, OverflowError):  # pandas' parser errors are ValueErrors
        return None
    values: NDArray[Any] = frame.to_numpy()
    if kind == "i":
        return values.copy()  # the array of pandas is read-only
    if kind == "l":
        return values.astype(np.float32) if bool((np.isnan(values) | (values == 0) | (values == 1)).all()) else None
    return float32(values)


def _explained(path: Path, text: bytes, kind: str, columns: int | None) -> DataError:
    """The error of the first line that breaks a rule."""
    width = columns
    for number, line in enumerate(text.decode("utf-8", "replace").split("\n")[:-1], start=1):
        values = [value.strip(" \t") for value in line.split(",")]
        width = len(values) if width is None else width
        if len(values) != width:
            return DataError(f"{path}: line {number}: must have {width} values, got {len(values)}")
        for value in values:
            if not _fits(value, kind):
                return DataError(f"{path}: line {number}: must be {_RULE[kind]}, got {value[:40]!r}")
    return DataError(f"{path}: truncated or not the expected format")


def _fits(value: str, kind: str) -> bool:
    if not _NUMBER[kind].fullmatch(value):
        return False
    if kind == "i":
        return len(value) <= 20 and -(2**63) <= int(value) < 2**63
    return kind == "l" or float32(np.array([float(value)])) is not None
