"""The argument parser of verbs: a mistake is an error of one line, as everywhere in dqrun."""

import argparse
from typing import Any, NoReturn

from dqrun.errors import ConfigError
from dqrun.process.verbosity import add_verbose


class LineParser(argparse.ArgumentParser):
    """An `ArgumentParser` that reports `--flag=--` as a mistake; argparse would give the flag a list."""

    def _get_values(self, action: argparse.Action, arg_strings: list[str]) -> Any:
        if action.option_strings and action.nargs is None and arg_strings == ["--"]:
            self.error(f"argument {'/'.join(action.option_strings)}: expected one argument")
        return super()._get_values(action, arg_strings)


class VerbParser(LineParser):
    """An `ArgumentParser` that raises ConfigError where argparse would print its usage and exit; it has `-v`."""

    def __init__(self, prog: str, **settings: Any) -> None:
        super().__init__(prog=prog, allow_abbrev=False, **settings)
        add_verbose(self)

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}; {self.prog} --help lists the options")


def add_results(parser: argparse.ArgumentParser) -> None:
    """The option that names the results folder."""
    parser.add_argument("--results", metavar="DIR", default="results", help="results folder (default: results)")
