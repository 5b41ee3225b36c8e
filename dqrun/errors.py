"""Errors that a user can cause; each is reported in one line and has its own exit code."""

import difflib
from collections.abc import Iterable


def printable(text: str) -> str:
    """Text for a terminal: control and format characters as Python writes them (`\\x1b`, `\\n`, `\\u202e`).

    A name can then neither move the cursor, nor begin a line, nor turn the direction of what follows. Lone surrogates,
    which no encoding can write, are escaped too.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def suggestion(word: str, options: Iterable[str]) -> str:
    """`; did you mean 'cora'?` where an option is near, else nothing."""
    near = difflib.get_close_matches(word, list(options), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


class DqrunError(Exception):
    """Base of all errors that `dqrun` reports in one line, without a traceback; control characters are escaped."""

    exit_code = 1

    def __str__(self) -> str:
        return printable(super().__str__())


class ConfigError(DqrunError):
    """A configuration value that breaks a rule: `<dotted.field> must <rule>, got <value>`."""

    exit_code = 2

    @classmethod
    def rule(cls, field: str, rule: str, value: object) -> "ConfigError":
        """The one wording of all rule violations, e.g. `quant.bits must be in 2..8, got 9`."""
        return cls(f"{field} must {rule}, got {value!r}")


class DataError(DqrunError):
    """A dataset that is missing, unreadable or not in the expected format; names the file."""

    exit_code = 2


class ResultsError(DqrunError):
    """A results folder that cannot be written or read; names the path."""

    exit_code = 2


class TrialFailed(DqrunError):
    """A trial that cannot give a number (a loss that is not finite, a full disk); recorded in its row."""
