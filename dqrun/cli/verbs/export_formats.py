"""The formats of `dqrun export` by name, each with the function that writes it and its options.

A writer is given as text, so that it is imported only after the check of the command line.
"""

from __future__ import annotations

import importlib
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from dqrun.composition.arguments import VerbParser
from dqrun.errors import ConfigError

if TYPE_CHECKING:
    from dqrun.cli.verbs.exporting import Export

    Writer = Callable[[Export, Path, Namespace], list[str]]


@dataclass(frozen=True)
class Format:
    """`writer`: "module:function" that takes an `Export`, the output and the words of the command line; it writes the
    output and returns lines about it. `output`: its default name, where RUN is the run's name. `options`: arguments of
    `add_argument` by flag, for options that not all formats have; their defaults must be None.
    """

    writer: str
    meaning: str
    output: str
    options: dict[str, dict[str, Any]] = field(default_factory=dict)

    def load(self) -> Writer:
        """The imported writer."""
        module, _, name = self.writer.partition(":")
        return cast("Writer", getattr(importlib.import_module(module), name))


CHECK: dict[str, dict[str, Any]] = {
    "--check": {
        "action": "store_true",
        "default": None,
        "help": "run what was written on the run's test data, beside the program; without --format: the program with "
        "both rules of requantisation",
    }
}
SIZES: dict[str, dict[str, Any]] = {
    "--max-nodes": {"type": int, "metavar": "N", "help": "c: nodes of a graph (default: the most of the dataset)"},
    "--max-edges": {"type": int, "metavar": "E", "help": "c: edges of a graph (default: the most of the dataset)"},
    "--max-degree": {"type": int, "metavar": "D", "help": "c: edges into a node, for GCN (default: all, at most 1024)"},
    "--name": {"metavar": "NAME", "help": "c: what its files and functions are called (default: MODEL_QUANT)"},
}

FORMATS = {
    "program": Format(
        "dqrun.cli.verbs.exporting:write_program", "a file for dqrun predict and Python", "RUN.dqp", CHECK
    ),
    "onnx": Format("dqrun.cli.verbs.export_onnx:write", "a model for ONNX Runtime and others", "RUN.onnx", CHECK),
    "c": Format("dqrun.cli.verbs.export_c:write", "a C99 library without floats", "RUN-c", CHECK | SIZES),
}
DEFAULT = "program"


def add_formats(parser: VerbParser) -> None:
    """Adds the option `--format` and the options of all formats."""
    said = "; ".join(f"{name}: {each.meaning}" for name, each in FORMATS.items())
    parser.add_argument("--format", choices=list(FORMATS), default=DEFAULT, help=f"{said} (default: {DEFAULT})")
    for flag, settings in {flag: each for form in FORMATS.values() for flag, each in form.options.items()}.items():
        parser.add_argument(flag, **settings)


def chosen(arguments: Namespace) -> Format:
    """The chosen format; raises ConfigError for an option of other formats."""
    wanted = FORMATS[arguments.format]
    for flag in {flag: None for form in FORMATS.values() for flag in form.options}:
        given = getattr(arguments, flag.removeprefix("--").replace("-", "_"))
        if given is not None and flag not in wanted.options:
            having = ", ".join(name for name, form in FORMATS.items() if flag in form.options)
            raise ConfigError.rule(flag, f"be given with --format {having} alone", f"--format {arguments.format}")
    return wanted
