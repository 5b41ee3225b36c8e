"""The argument parser of verbs: mistakes are told in one line, as everywhere in dqrun."""

import argparse
from typing import Any, NoReturn

from dqrun.errors import ConfigError
from dqrun.verbosity import add_verbose


class VerbParser(argparse.ArgumentParser):
    """An `ArgumentParser` that raises ConfigError where argparse would print its usage and exit; it has `-v`."""

    def __init__(self, prog: str, **settings: Any) -> None:
        super().__init__(prog=prog, allow_abbrev=False, **settings)
        add_verbose(self)

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}; {self.prog} --help lists the options")
