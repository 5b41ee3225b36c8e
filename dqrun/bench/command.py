"""Functions that all commands of `dqrun bench` use: checks of their flags, names in tables, the JSON file."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from dqrun.durable import write_text
from dqrun.errors import ConfigError, ResultsError

JSON = "write the figures and the machine to a file"


def add_flags(parser: argparse.ArgumentParser, rounds: int) -> None:
    """Adds the flags of all commands; `rounds`: the default of `--rounds`."""
    parser.add_argument("--rounds", type=int, default=rounds, metavar="N", help=f"times each runs (default: {rounds})")
    parser.add_argument("--json", metavar="FILE", help=JSON)


def require_rounds(rounds: int) -> None:
    """Raises ConfigError if `rounds` is less than one."""
    if rounds < 1:
        raise ConfigError.rule("--rounds", "be >= 1", rounds)


def writable(file: str | None) -> Path | None:
    """The path of `--json`, or None without the flag.

    Raises ConfigError if the file cannot be written, so that this is known before the measurement.
    """
    if file is None:
        return None
    path = Path(file)
    try:
        with path.open("r+b") if path.exists() else TemporaryFile(dir=path.parent):
            return path
    except (OSError, ValueError) as error:  # ValueError: a null character
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"--json must name a file that can be written, got {file!r} ({reason})") from None


def write(output: Path | None, results: Sequence[Any], **more: Any) -> None:
    """Writes the machine, the measured lines (dataclasses) and `more` to a JSON file, unless `output` is None.

    Raises ResultsError if the file cannot be written.
    """
    if output is None:
        return
    from dqrun.bench.machine import describe  # imports torch

    document = {"machine": describe(), "results": [asdict(line) for line in results], **more}
    try:
        write_text(output, json.dumps(document, indent=1) + "\n")
    except OSError as error:
        raise ResultsError(f"could not write {output}: {error.strerror}") from None


def shown(variant: str, form: str) -> str:
    """The variant's name and, unless it is clear, its form of edges: `pyg_fp32_csr (adj_t)`."""
    return variant if form in ("", "edge_index") else f"{variant} ({form})"
