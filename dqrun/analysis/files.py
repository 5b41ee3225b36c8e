"""Writes files atomically: a file is complete or does not exist."""

from __future__ import annotations

from pathlib import Path

from dqrun import durable
from dqrun.errors import ResultsError


def write_atomically(path: Path, content: bytes) -> None:
    """Replaces `path` in one step and flushes it to disk; raises ResultsError if it cannot be written."""
    try:
        durable.write_bytes(path, content)
    except OSError as error:
        raise ResultsError(f"could not write {path}: {error.strerror}") from None
