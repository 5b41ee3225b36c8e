"""Standard output and standard error that are closed, full, or narrower than Unicode."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO, cast

from dqrun.errors import ResultsError


class OutputLost(ResultsError):
    """Standard output cannot be written. Files that the command wrote are complete."""

    def __init__(self, reason: str | None) -> None:
        super().__init__(f"standard output could not be written ({reason}): what is in the results folder is kept")


class _Stream:
    """A text stream whose failures to write become `_failed`; all else is the wrapped stream's."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            return int(self._stream.write(text))
        except BrokenPipeError:
            raise
        except OSError as error:
            return self._failed(error, len(text))

    def flush(self) -> None:
        try:
            self._stream.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            self._failed(error, 0)

    def _failed(self, error: OSError, length: int) -> int:
        raise NotImplementedError

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _Output(_Stream):
    """Standard output: raises OutputLost."""

    def _failed(self, error: OSError, length: int) -> int:
        forget(self._stream)
        raise OutputLost(error.strerror)


class _Messages(_Stream):
    """Standard error: a message that cannot be shown does not end the command."""

    def _failed(self, error: OSError, length: int) -> int:
        forget(self._stream)
        return length


def forget(stream: Any) -> None:
    """Drops what a stream still holds and all that is written to it from now on."""
    with contextlib.suppress(OSError, io.UnsupportedOperation, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
        stream.flush()


@contextlib.contextmanager
def standard_streams() -> Iterator[None]:
    """Inside the block stdout and stderr exist, take any character, and fail in words of our own.

    What the encoding of a stream lacks is written as an escape like `\\xe9`. Afterwards the streams are as before.
    """
    before = sys.stdout, sys.stderr
    _occupy()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    sys.stdout, sys.stderr = cast("TextIO", _Output(sys.stdout)), cast("TextIO", _Messages(sys.stderr))
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def _occupy() -> None:
    """Opens replacements for a closed stdin, stdout or stderr, so that no file of ours gets its number.

    Python has None for a stream that was closed when the process began. Writing to the new stdout fails, as it would
    have failed on the closed one; what is written to the new stderr is dropped.
    """
    for number, mode in ((0, os.O_RDONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, mode)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
    sys.stdout = sys.stdout or os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", encoding="utf-8", closefd=False)
