"""The formats of `dqrun export` by name: which function writes each, and which options belong to it alone.

Nothing heavy is imported before the command line is known to be right: a writer is named as text.
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
    """`writer`: "module:function" that takes an `Export`, the output and the words of the command line; it writes, and
    returns lines that tell what it wrote. `output`: the default, RUN being the run's name. `options`: arguments of
    `add_argument` by flag, for options of this format alone; their defaults must be None.
    """

    writer: str
    meaning: str
    output: str
    options: dict[str, dict[str, Any]] = field(default_factory=dict)

    def load(self) -> Writer:
        """The imported writer."""
        module, _, name = self.writer.partition(":")
        return cast("Writer", getattr(importlib.import_module(module), name))


FORMATS = {
    "program": Format("dqrun.cli.verbs.exporting:write_program", "a file for dqrun predict and Python", "RUN.dqp"),
}
DEFAULT = "program"


def add_formats(parser: VerbParser) -> None:
    """The option that names the format, and the options of each."""
    said = "; ".join(f"{name}: {each.meaning}" for name, each in FORMATS.items())
    parser.add_argument("--format", choices=list(FORMATS), default=DEFAULT, help=f"{said} (default: {DEFAULT})")
    for each in FORMATS.values():
        for flag, settings in each.options.items():
            parser.add_argument(flag, **settings)


def chosen(arguments: Namespace) -> Format:
    """The format that the words name; raises ConfigError for an option of another one."""
    for name, each in FORMATS.items():
        for flag in each.options:
            given = getattr(arguments, flag.removeprefix("--").replace("-", "_"))
            if given is not None and name != arguments.format:
                raise ConfigError.rule(flag, f"be given with --format {name} alone", f"--format {arguments.format}")
    return FORMATS[arguments.format]
