"""Errors of the Python interface."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from dqrun.errors import ResultsError, printable


@contextmanager
def one_line() -> Iterator[None]:
    """What the system says of a path that the user gave becomes a ResultsError of one line."""
    try:
        yield
    except OSError as error:
        raise ResultsError(printable(f"{error.filename or 'the system'}: {error.strerror or error}")) from error
