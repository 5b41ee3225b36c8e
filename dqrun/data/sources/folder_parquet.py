"""`ParquetFile`: a table of a user's folder in Parquet, read in chunks; each column has the kind that is declared."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dqrun import extras
from dqrun.data.sources.folder_content import as_int64, first_bad
from dqrun.data.sources.folder_table import ID, NUMBER, WORD, Table
from dqrun.errors import DataError

TYPES = {ID: "integers", NUMBER: "numbers", WORD: "text or numbers"}


@dataclass(frozen=True)
class ParquetFile:
    """A table with `num_rows` rows; `kinds`: the kind of each column, in the order of the file."""

    path: Path
    kinds: Mapping[str, str]
    num_rows: int
    file: Any  # pyarrow.parquet.ParquetFile

    @classmethod
    def open(
        cls, path: Path, kinds: Mapping[str, str], optional: Collection[str], others: str | Callable[[str], str]
    ) -> ParquetFile:
        """Arguments as for `Table.read`. Raises ConfigError without pyarrow, DataError for a file that is no Parquet
        and for columns that are missing or of another type.
        """
        file = _open(path)
        schema = file.schema_arrow
        found = {
            name: kinds.get(name) or (others if isinstance(others, str) else others(name)) for name in schema.names
        }
        if len(found) < len(schema.names):
            raise DataError(f"{path}: each column must have a name of its own")
        for name in kinds:
            if name not in found and name not in optional:
                raise DataError(f"{path}: column {name} is missing")
        for name, kind in found.items():
            if not kind:
                raise DataError(f"{path}: columns must be among {', '.join(kinds)}, got {name}")
            if not _fits(schema.field(name).type, kind):
                raise DataError(f"{path}: column {name} must hold {TYPES[kind]}, got {schema.field(name).type}")
        return cls(path, found, file.metadata.num_rows, file)

    def chunks(self, rows: int) -> Iterator[dict[str, NDArray[Any]]]:
        """Yields at most `rows` rows at a time, by column: int64, float32, or text as objects ("" if it is missing).

        A number in a column of text becomes its text. Raises DataError with row and column for a missing number, for a
        number that is not finite in float32, and for an integer beyond int64.
        """
        first = 0
        batches = self.file.iter_batches(batch_size=rows)
        while (batch := self._next(batches)) is not None:
            yield {name: self._values(batch.column(name), name, kind, first) for name, kind in self.kinds.items()}
            first += batch.num_rows

    def table(self) -> Table:
        """All rows as a `Table`; errors as for `chunks`."""
        parts = list(self.chunks(1 << 20))
        types = {ID: np.int64, NUMBER: np.float32, WORD: object}
        empty = {name: [np.empty(0, types[kind])] for name, kind in self.kinds.items()}
        values = {name: np.concatenate([part[name] for part in parts] or empty[name]) for name in self.kinds}
        return Table(self.path, values, lambda: np.arange(self.num_rows), word="row")

    def place(self, row: int) -> str:
        """File and row (the first one is 0), for an error."""
        return f"{self.path}: row {row}"

    def _next(self, batches: Iterator[Any]) -> Any:
        try:
            return next(batches, None)
        except Exception as error:
            raise _broken(self.path, error) from None

    def _values(self, column: Any, name: str, kind: str, first: int) -> NDArray[Any]:
        if kind == WORD:
            values = column.to_pylist()
            return np.array(
                [value or "" for value in (values if _is_text(column.type) else map(_text, values))], object
            )
        if column.null_count:
            missing = np.asarray(column.is_null())
            first_bad(missing, lambda row: self.place(first + row), f"{name} must be there, got nothing")
        numbers: NDArray[Any] = column.to_numpy(zero_copy_only=False)
        if kind == ID:
            return as_int64(numbers, lambda row: self.place(first + row), name)
        with np.errstate(over="ignore"):
            rounded = numbers.astype(np.float32, copy=False)
        rule = f"{name} must be a finite number in float32"
        first_bad(~np.isfinite(rounded), lambda row: self.place(first + row), rule, numbers)
        return rounded


def text_or_id(path: Path, column: str) -> str:
    """The kind of a column that may hold text or integers: WORD or ID; ID if the column is missing."""
    schema = _open(path).schema_arrow
    return WORD if column in schema.names and _is_text(schema.field(column).type) else ID


def _open(path: Path) -> Any:
    parquet = extras.require("pyarrow.parquet", "large", path.name)
    if not path.is_file():
        raise DataError(f"{path}: the file is missing")
    try:
        return parquet.ParquetFile(path, memory_map=True)
    except Exception as error:  # pyarrow has its own exception classes
        raise _broken(path, error) from None


def _fits(given: Any, kind: str) -> bool:
    types = extras.require("pyarrow.types", "large", "Parquet")
    if kind == ID:
        return bool(types.is_integer(given))
    return bool(types.is_integer(given) or types.is_floating(given)) or (kind == WORD and _is_text(given))


def _is_text(given: Any) -> bool:
    types = extras.require("pyarrow.types", "large", "Parquet")
    text = given.value_type if types.is_dictionary(given) else given
    return bool(types.is_string(text) or types.is_large_string(text))


def _text(value: str | float | None) -> str:
    """A cell as CSV would hold it: `1` for the number 1.0, nothing for a missing value."""
    if value is None or value != value:
        return ""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _broken(path: Path, error: Exception) -> DataError:
    reason = str(error).partition("\n")[0][:200]
    return DataError(f"{path}: truncated or no Parquet file ({reason})")
