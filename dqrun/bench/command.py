"""What the commands of `dqrun bench` share: checks of their flags, names in tables, the JSON file."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dqrun.errors import ConfigError


def add_flags(parser: argparse.ArgumentParser, rounds: int) -> None:
    """The flags that all have."""
    parser.add_argument("--rounds", type=int, default=rounds, metavar="N", help=f"times each runs (default: {rounds})")
    parser.add_argument("--json", metavar="FILE", help="write the figures and the machine to a file")


def require_rounds(rounds: int) -> None:
    """Raises ConfigError for fewer than one."""
    if rounds < 1:
        raise ConfigError.rule("--rounds", "be >= 1", rounds)


def writable(file: str | None) -> Path | None:
    """The file, or None for none; raises ConfigError unless it can be written, before minutes of measuring."""
    if file is None:
        return None
    try:
        Path(file).open("a").close()
    except OSError as error:
        rule = "name a file that can be written"
        raise ConfigError(f"--json must {rule}, got {file!r} ({error.strerror})") from None
    return Path(file)


def write(output: Path | None, results: Sequence[Any], **more: Any) -> None:
    """Writes the machine, the measured lines (dataclasses) and more to a JSON file, if there is one."""
    if output is None:
        return
    from dqrun.bench.machine import describe  # imports torch

    document = {"machine": describe(), "results": [asdict(line) for line in results], **more}
    output.write_text(json.dumps(document, indent=1) + "\n")


def shown(variant: str, form: str) -> str:
    """The variant, with the form of edges where its name does not say it: `pyg_fp32_csr (adj_t)`."""
    return variant if form in ("", "edge_index") else f"{variant} ({form})"
