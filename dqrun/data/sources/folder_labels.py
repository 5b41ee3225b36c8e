"""Targets from a user's tables: classes given by number or by name, numbers (regression), or several labels."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np

from dqrun.config.tasks import kind_of
from dqrun.data.number_text import canonical_text
from dqrun.data.sources.folder_content import Targets, first_bad, targets
from dqrun.data.sources.folder_parquet import text_or_id
from dqrun.data.sources.folder_table import ID, NUMBER, WORD, Table
from dqrun.errors import DataError

LABEL = "label"
PREFIX = "label_"
"""A column of a task with several labels: `label_NAME`, with 0, 1 or nothing (not known)."""


def label_kind(path: Path, task: str) -> str:
    """The kind of the column `label`: NUMBER for regression, WORD if the first label is no number, else ID."""
    if kind_of(task) == "regression":
        return NUMBER
    if path.suffix == ".parquet":
        return text_or_id(path, LABEL)
    try:
        text = canonical_text(path.read_bytes()).decode("utf-8", "replace").replace("\r", "\n")
    except OSError:
        return ID  # `Table.read` reports the error
    rows = csv.reader((line for line in text.split("\n", 2000) if line.strip()), skipinitialspace=True)
    try:
        header, first = [name.strip() for name in next(rows, [])], next(rows, [])
    except csv.Error:
        return ID
    place = header.index(LABEL) if LABEL in header else len(first)
    return WORD if place < len(first) and not _is_number(first[place]) else ID


def others_of(task: str, otherwise: str) -> Callable[[str], str]:
    """A function from the name of any other column to its kind: WORD for `label_NAME` of multilabel tasks, else
    `otherwise`."""
    several = kind_of(task) == "multilabel"
    return lambda name: WORD if several and name.startswith(PREFIX) else otherwise


def label_columns(table: Table, task: str) -> tuple[str, ...]:
    """The columns of a table that are targets, in its order."""
    if kind_of(task) == "multilabel":
        return tuple(name for name in table.values if name.startswith(PREFIX))
    return (LABEL,) if LABEL in table else ()


def read_targets(table: Table, task: str) -> Targets:
    """Targets of a table's rows; raises DataError for labels against the rules of docs/reference/folder_format.md."""
    if kind_of(task) == "multilabel":
        return _several(table, label_columns(table, task))
    if kind_of(task) == "regression" or table.values[LABEL].dtype != object:
        return Targets(*targets(table.values[LABEL], kind_of(task) == "regression", table.place))
    return _named(table)


def _several(table: Table, columns: tuple[str, ...]) -> Targets:
    if not columns:
        raise DataError(f"{table.path}: line 1: a column {PREFIX}NAME is missing, one for each label")
    if not len(table):
        raise DataError(f"{table.place(0)}: no label is there")
    words = np.stack([table.words(name, ("0", "1")) for name in columns], axis=1)
    y = np.where(words == "", np.nan, words == "1").astype(np.float32)
    return Targets(y, len(columns), tuple(name.removeprefix(PREFIX) for name in columns))


def _named(table: Table) -> Targets:
    """Classes by name, numbered in alphabetical order."""
    words = table.values[LABEL].astype(str)
    if not words.size:
        raise DataError(f"{table.place(0)}: no label is there")
    is_number = np.array([_is_number(word) for word in words])
    if is_number.any() and not is_number.all():  # some names are probably typing errors
        first_bad(~is_number, table.place, f"{LABEL} must be an integer", words)
    names, y = np.unique(words, return_inverse=True)
    if names.size < 2:
        raise DataError(f"{table.place(0)}: labels must have at least 2 classes, got only {names[0]}")
    return Targets(y.astype(np.int64), int(names.size), tuple(names.tolist()))


def _is_number(word: str) -> bool:
    """Whether a cell is a number, or empty."""
    try:
        float(word or "0")
    except ValueError:
        return word.strip() == ""
    return True
