"""Tells whether a user's own files are still the ones that a trial was trained on."""

from __future__ import annotations

import hashlib
from pathlib import Path

from dqrun.config import DatasetConfig


def fingerprint(dataset: DatasetConfig) -> str:
    """Hash of the files of a `folder` dataset, names and contents; empty for datasets that do not change."""
    if dataset.source != "folder" or dataset.path is None:
        return ""
    digest = hashlib.sha256()
    for path in sorted(Path(dataset.path).expanduser().glob("*")):
        if path.suffix in (".csv", ".npz"):
            digest.update(path.name.encode() + b"\0")
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
