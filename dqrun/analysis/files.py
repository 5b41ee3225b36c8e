"""Writing a file that is either there whole or not at all."""

from __future__ import annotations

from pathlib import Path

from dqrun import durable
from dqrun.errors import ResultsError


def write_atomically(path: Path, content: bytes) -> None:
    """Replaces `path` in one step, to last; raises ResultsError where it cannot be written."""
    try:
        durable.write_bytes(path, content)
    except OSError as error:
        raise ResultsError(f"could not write {path}: {error.strerror}") from None
