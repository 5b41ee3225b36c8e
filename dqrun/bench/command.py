"""What the commands of `dqrun bench` share: checks of their flags, names in tables, the JSON file."""

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
    """The flags that all have."""
    parser.add_argument("--rounds", type=int, default=rounds, metavar="N", help=f"times each runs (default: {rounds})")
    parser.add_argument("--json", metavar="FILE", help=JSON)


def require_rounds(rounds: int) -> None:
    """Raises ConfigError for fewer than one."""
    if rounds < 1:
        raise ConfigError.rule("--rounds", "be >= 1", rounds)


def writable(file: str | None) -> Path | None:
    """The file, or None for none; raises ConfigError unless it can be written, before minutes of measuring."""
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
    """Writes the machine, the measured lines (dataclasses) and more to a JSON file, if there is one."""
    if output is None:
        return
    from dqrun.bench.machine import describe  # imports torch

    document = {"machine": describe(), "results": [asdict(line) for line in results], **more}
    try:
        write_text(output, json.dumps(document, indent=1) + "\n")
    except OSError as error:
        raise ResultsError(f"could not write {output}: {error.strerror}") from None


def shown(variant: str, form: str) -> str:
    """The variant, with the form of edges where its name does not say it: `pyg_fp32_csr (adj_t)`."""
    return variant if form in ("", "edge_index") else f"{variant} ({form})"
