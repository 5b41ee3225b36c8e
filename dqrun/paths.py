"""Paths that a user types."""

from __future__ import annotations

import os
from pathlib import Path


def user_path(text: str | Path) -> Path:
    """The path with `~` and `~user` replaced by home folders; a user without a home folder stays as typed."""
    return Path(os.path.expanduser(text))


def real_path(text: str | Path) -> Path:
    """The absolute path without symbolic links; a loop of links stays in it."""
    return Path(os.path.realpath(user_path(text)))
