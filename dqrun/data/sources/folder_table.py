"""`Table`: one CSV file of a user's folder, whose checks name the file and the line."""

from __future__ import annotations

import csv
import warnings
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dqrun.data.sources.folder_content import Floats, Ints, first_bad
from dqrun.errors import DataError


@dataclass(frozen=True)
class Table:
    """A CSV file with a header; blank lines are dropped, line numbers are those of the file."""

    path: Path
    frame: pd.DataFrame
    lines: Ints  # [rows] line of each row, the header is line 1

    @classmethod
    def read(cls, path: Path, required: Collection[str], optional: Collection[str] | None = ()) -> Table:
        """Reads a file whose header must hold `required` and, besides, only `optional` (None: anything).

        Raises DataError for a file that is missing, is no CSV table, or has other columns.
        """
        try:
            _check_header(path, required, optional)
            with warnings.catch_warnings():
                warnings.simplefilter("error", pd.errors.ParserWarning)  # a first row longer than the header
                frame = pd.read_csv(
                    path, index_col=False, skipinitialspace=True, skip_blank_lines=False, low_memory=False,
                    encoding="utf-8-sig",
                )  # fmt: skip
        except FileNotFoundError:
            raise DataError(f"{path}: the file is missing") from None
        except pd.errors.ParserWarning:
            raise DataError(f"{path}: line 2: the row has more values than the header has columns") from None
        except (OSError, ValueError) as error:  # pandas' parser errors are ValueErrors
            raise DataError(f"{path}: not a CSV table ({' '.join(str(error).split())})") from error
        frame.columns = frame.columns.str.strip()
        filled = frame.notna().any(axis=1)
        return cls(path, frame[filled], np.flatnonzero(filled.to_numpy()) + 2)

    def __len__(self) -> int:
        return len(self.lines)

    def place(self, row: int) -> str:
        """File and line of a row, for an error."""
        return f"{self.path}: line {self.lines[row] if len(self) else 2}"

    def integers(self, column: str) -> Ints:
        """A column of integers >= 0, int64 [rows]."""
        values = self.frame[column]
        if values.dtype != np.int64:
            numbers = self.numbers(column)
            first_bad(numbers != np.floor(numbers), self.place, f"{column} must be an integer", values.to_numpy())
            values = pd.Series(numbers.astype(np.int64))
        result: Ints = values.to_numpy(dtype=np.int64)
        first_bad(result < 0, self.place, f"{column} must be >= 0", result)
        return result

    def numbers(self, column: str) -> NDArray[np.float64]:
        """A column of finite numbers, float64 [rows]."""
        values = self.frame[column]
        if values.dtype == bool:  # pandas reads the words True and False so
            values = values.astype(str)
        numbers: NDArray[np.float64] = pd.to_numeric(values, errors="coerce").to_numpy(dtype=np.float64)
        first_bad(~np.isfinite(numbers), self.place, f"{column} must be a finite number", values.to_numpy())
        return numbers

    def features(self, columns: list[str]) -> Floats | None:
        """Several columns of finite numbers, float32 [rows, columns]; None where there are no columns."""
        if not columns:
            return None
        return np.stack([self.numbers(column) for column in columns], axis=1).astype(np.float32)

    def words(self, column: str, allowed: Collection[str]) -> NDArray[Any]:
        """A column of words, object [rows]; an empty cell gives an empty word."""
        values: NDArray[Any] = self.frame[column].fillna("").astype(str).str.strip().to_numpy(dtype=object)
        wrong = ~np.isin(values.astype(str), ["", *allowed])
        first_bad(wrong, self.place, f"{column} must be {', '.join(allowed)} or empty", values)
        return values

    def columns_besides(self, *names: str) -> list[str]:
        """The other columns, in the order of the file."""
        return [str(column) for column in self.frame.columns if column not in names]


def _check_header(path: Path, required: Collection[str], optional: Collection[str] | None) -> None:
    with path.open(newline="", encoding="utf-8-sig") as file:
        header = [name.strip() for name in next(csv.reader(file), [])]
    for name in required:
        if name not in header:
            raise DataError(f"{path}: line 1: column {name} is missing, the header must hold {', '.join(required)}")
    for position, name in enumerate(header):
        if not name or name in header[:position]:
            raise DataError(f"{path}: line 1: each column must have a name of its own, got {name!r}")
        if optional is not None and name not in required and name not in optional:
            allowed = ", ".join((*required, *optional))
            raise DataError(f"{path}: line 1: columns must be among {allowed}, got {name}")
