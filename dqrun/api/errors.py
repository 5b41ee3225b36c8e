"""Errors of the Python interface."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from dqrun.errors import ConfigError, ResultsError, printable


@contextmanager
def one_line() -> Iterator[None]:
    """Turns an OSError about a path that the user gave into a ResultsError of one line."""
    try:
        yield
    except OSError as error:
        raise ResultsError(printable(f"{error.filename or 'the system'}: {error.strerror or error}")) from error


def require_words(name: str, words: Sequence[object], example: str) -> None:
    """Raises ConfigError unless all words are text."""
    for word in words:
        if not isinstance(word, str):
            raise ConfigError.rule(name, f"be text, one argument each, such as {example!r}", word)


def require_path(name: str, value: object) -> None:
    """Raises ConfigError unless a value is text or a path."""
    if not isinstance(value, str | os.PathLike):
        raise ConfigError.rule(name, "be a path", value)


def require_no_flags(words: Sequence[str]) -> None:
    """Raises ConfigError for a flag of the command line, which is no override."""
    for word in words:
        if word.startswith("-"):
            sweeps = ": dqrun.run sweeps without it" if word in ("-m", "--multirun") else ""
            raise ConfigError(f"{word!r} is a flag of the command line, dqrun.run takes FIELD=VALUE{sweeps}")
