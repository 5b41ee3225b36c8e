"""The folder of a run, by its path or by its name in a results folder."""

from __future__ import annotations

import os
from pathlib import Path

from dqrun.errors import ResultsError
from dqrun.paths import real_path, user_path

NETWORK = "model.safetensors"


def find_folder(run: str, results: Path) -> Path | None:
    """The folder of a run, given by its path or by its name in a results folder; None if there is none."""
    for folder in (user_path(run), user_path(results) / "runs" / run):
        if os.path.isdir(folder) and folder.parent.name == "runs":
            return real_path(folder)
    return None


def find_network(run: str, results: Path) -> Path:
    """The folder of a run with a model file, given by path or name; raises ResultsError if there is none."""
    for folder in (user_path(run), user_path(results) / "runs" / run):
        if os.path.isfile(folder / NETWORK):
            return real_path(folder)
    raise ResultsError(f"RUN must be a run folder with {NETWORK}, or a name in {results / 'runs'}, got {run!r}")
