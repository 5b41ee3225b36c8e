"""Writing a file that is either there whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from dqrun.errors import ResultsError


def write_atomically(path: Path, content: bytes) -> None:
    """Replaces `path` in one step; raises ResultsError where it cannot be written."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        try:
            temporary.write_bytes(content)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise ResultsError(f"could not write {path}: {error.strerror}") from None
