"""`Table`: one CSV file of a user's folder; each column has a declared kind.

A fast reader (pandas with declared types) reads files without errors. Files that it refuses are read line by line:
this is slow, reports the first error, and accepts unusual but valid spellings (quotes, ids as 1.0).
"""

from __future__ import annotations

import csv
import io
import re
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dqrun.data.number_text import canonical_text, exact_floats, float32
from dqrun.data.sources.folder_content import Floats, Ints, first_bad
from dqrun.errors import DataError

ID, NUMBER, WORD = "id", "number", "word"
"""Kinds of columns: integers (int64), finite numbers (float32), text."""

_DTYPES: dict[str, type] = {ID: np.int64, NUMBER: np.float64, WORD: str}
_INTEGER = re.compile(r"[+-]?[0-9]+(\.0*)?")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
LF = b"\n"
_UNPRINTABLE = bytes(range(9)) + bytes(range(11, 32)) + b"\x7f"  # all but tab and line feed


@dataclass(frozen=True)
class Table:
    """A CSV file with a header; blank lines are dropped, line numbers are those of the file."""

    path: Path
    values: Mapping[str, NDArray[Any]]  # int64, float32 or object (text) [rows], by column
    lines: Callable[[], Ints]  # line of each row, the header is line 1; computed when needed
    word: str = "line"  # word for a row's place in errors

    @classmethod
    def read(
        cls,
        path: Path,
        kinds: Mapping[str, str],
        optional: Collection[str] = (),
        others: str | Callable[[str], str] = "",
    ) -> Table:
        """Reads a file; its header must hold the columns of `kinds`, except those in `optional`.

        `kinds`: kind of each column. `others`: kind of further columns, or a function from their name to their kind;
        empty: they are refused. Raises DataError, with line and column, for a file that is missing or is no table,
        other columns, and values of another kind.
        """
        text = _text(path)
        first, _, body = text.partition(b"\n")
        if b'"' not in body:
            header = _checked_header(path, next(csv.reader([first.decode()]), []), kinds, optional, others)
            if (values := _quickly(body, header)) is not None:
                return cls(path, values, lambda: _filled_lines(body))
        return cls._slowly(path, text, kinds, optional, others)

    @classmethod
    def _slowly(
        cls,
        path: Path,
        text: bytes,
        kinds: Mapping[str, str],
        optional: Collection[str],
        others: str | Callable[[str], str],
    ) -> Table:
        """Reads line by line; raises DataError for the first value that breaks a rule."""
        rows = _rows(path, text)
        _, names = next(rows, (1, []))
        header = _checked_header(path, names, kinds, optional, others)
        columns: dict[str, list[Any]] = {name: [] for name in header}
        lines = []
        for line, row in rows:
            if len(row) != len(header):
                rule = f"must have {len(header)} values, one for each column of the header"
                raise DataError(f"{path}: line {line}: {rule}, got {len(row)}")
            for (name, kind), value in zip(header.items(), row, strict=True):
                columns[name].append(_converted(path, line, name, kind, value))
            lines.append(line)
        dtypes = {ID: np.int64, NUMBER: np.float32, WORD: object}
        values = {name: np.array(column, dtype=dtypes[header[name]]) for name, column in columns.items()}
        return cls(path, values, lambda: np.array(lines, dtype=np.int64))

    def __len__(self) -> int:
        return len(next(iter(self.values.values()), ()))

    def __contains__(self, column: str) -> bool:
        return column in self.values

    @cached_property
    def _lines(self) -> Ints:
        return self.lines()

    def place(self, row: int) -> str:
        """File and line of a row, for an error."""
        return f"{self.path}: {self.word} {self._lines[row] if len(self) else 2}"

    def ids(self, column: str) -> Ints:
        """A column of integers >= 0, int64 [rows]."""
        result: Ints = self.values[column]
        first_bad(result < 0, self.place, f"{column} must be >= 0", result)
        return result

    def words(self, column: str, allowed: Collection[str]) -> NDArray[Any]:
        """A column of words, object [rows]; an empty cell gives an empty word."""
        values = self.values[column]
        wrong = ~np.isin(values.astype(str), ["", *allowed])
        first_bad(wrong, self.place, f"{column} must be {', '.join(allowed)} or empty", values)
        return values

    def features(self, *besides: str) -> Floats | None:
        """The columns except `besides`, in the order of the file, float32 [rows, columns]; None if there are none."""
        columns = [values for name, values in self.values.items() if name not in besides]
        return np.stack(columns, axis=1) if columns else None


def _text(path: Path) -> bytes:
    """The content of a file in UTF-8, with LF line ends; raises DataError for other encodings or control characters."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path}: the file is missing") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    text = canonical_text(content).replace(b"\r", b"\n")
    try:
        text.decode()
    except UnicodeDecodeError as error:
        line = text.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path}: line {line}: the file must be text in UTF-8") from None
    if len(text.translate(None, _UNPRINTABLE)) < len(text):
        place = next(i for i, byte in enumerate(text) if byte in _UNPRINTABLE)
        raise DataError(f"{path}: line {text.count(LF, 0, place) + 1}: must hold no control characters")
    return text


def _checked_header(
    path: Path,
    names: list[str],
    kinds: Mapping[str, str],
    optional: Collection[str],
    others: str | Callable[[str], str],
) -> dict[str, str]:
    """The kind of each column of a header, in the order of the header."""
    header: dict[str, str] = {}
    required = [name for name in kinds if name not in optional]
    for name in (name.strip() for name in names):
        if not name or name in header:
            raise DataError(f"{path}: line 1: each column must have a name of its own, got {name!r}")
        header[name] = kinds.get(name) or (others if isinstance(others, str) else others(name))
    for name in required:
        if name not in header:
            raise DataError(f"{path}: line 1: column {name} is missing, the header must hold {', '.join(required)}")
    for name, kind in header.items():
        if not kind:
            raise DataError(f"{path}: line 1: columns must be among {', '.join(kinds)}, got {name}")
    return header


def _quickly(body: bytes, header: Mapping[str, str]) -> dict[str, NDArray[Any]] | None:
    """All columns at once, or None if a value or a row breaks a rule. `body`: without quotes."""
    if not _is_spelled_well(body, header):
        return None
    found: dict[str, NDArray[Any]] = {}
    for kind in dict.fromkeys(header.values()):
        names = [name for name in header if header[name] == kind]
        block = _block(body, header, kind, _DTYPES[kind])
        if block is None or body.count(b",") != (len(header) - 1) * len(
            block
        ):  # pandas fills short rows, cuts long ones
            return None
        if kind == ID and (block < 0).any():  # pandas 2 also reads 2^63 and more as a negative integer
            return None
        if kind == NUMBER and (block := float32(block)) is None:
            return None
        found |= zip(names, np.ascontiguousarray(block.T), strict=True)
    return {name: found[name] for name in header}


def _block(body: bytes, header: Mapping[str, str], kind: str, dtype: type) -> NDArray[Any] | None:
    """The columns of one kind, [rows, columns], or None if pandas refuses a value."""
    places = [place for place, its_kind in enumerate(header.values()) if its_kind == kind]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # a first row longer than the header, and numbers that do not fit
            frame = pd.read_csv(
                io.BytesIO(body), header=None, index_col=False, names=range(len(header)), usecols=places, dtype=dtype,
                na_filter=False, skipinitialspace=True, quoting=csv.QUOTE_NONE, low_memory=False, **exact_floats(),
            )  # fmt: skip
    except (ValueError, OverflowError, Warning):  # pandas' parser errors are ValueErrors
        return None
    words: NDArray[Any] = frame.to_numpy(dtype=object if dtype is str else dtype)
    if dtype is not str:
        return words
    return np.array([[word.strip() for word in row] for row in words.tolist()], dtype=object).reshape(words.shape)


def _is_spelled_well(body: bytes, header: Mapping[str, str]) -> bool:
    """Whether numbers are written as numbers, and integers as integers.

    pandas accepts True as 1, and converts 9007199254740993.0 and 1e-400 to integers through floats.
    """
    kinds = set(header.values())
    letters = body.translate(None, b"0123456789+-, \t\n")
    if not letters:
        return True
    if WORD not in kinds and letters.translate(None, b".eE"):
        return False
    doubtful = {ID: _INTEGER, NUMBER: _NUMBER} if WORD in kinds else {ID: _INTEGER}
    for kind, pattern in doubtful.items():
        words = _block(body, header, kind, str) if kind in kinds else ()
        if words is None or any(
            ("." in word and kind == ID) or not pattern.fullmatch(word) for row in words for word in row
        ):
            return False
    return True


def _rows(path: Path, text: bytes) -> Iterator[tuple[int, list[str]]]:
    """Line and values of each row that is not blank; the line is the last line of the row."""
    reader = csv.reader(io.StringIO(text.decode(), newline=""), skipinitialspace=True, strict=True)
    try:
        for row in reader:
            if any(value.strip() for value in row):
                yield reader.line_num, row
    except csv.Error as error:
        raise DataError(f"{path}: line {reader.line_num}: not a CSV table ({error})") from None


def _converted(path: Path, line: int, name: str, kind: str, value: str) -> Any:
    """One value, converted to the kind of its column; raises DataError if it is of another kind."""
    if kind == WORD:
        return value.strip()
    value = value.strip(" \t")
    if kind == ID and _INTEGER.fullmatch(value) and len(value) < 1000:
        number = int(value.partition(".")[0])
        if -(2**63) <= number < 2**63:
            return number
    if kind == NUMBER and _NUMBER.fullmatch(value) and (numbers := float32(np.array([float(value)]))) is not None:
        return numbers[0]
    rule = "an integer" if kind == ID else "a finite number in float32"
    raise DataError(f"{path}: line {line}: {name} must be {rule}, got {value[:40] or 'nothing'}")


def _filled_lines(body: bytes) -> Ints:
    """Line numbers of the lines of `body` that are not blank; its first line is line 2 of the file."""
    return np.flatnonzero([bool(line.strip()) for line in body.split(b"\n")]) + 2
