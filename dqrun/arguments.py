"""The argument parser of verbs: mistakes are told in one line, as everywhere in dqrun."""

import argparse
from typing import NoReturn

from dqrun.errors import ConfigError


class VerbParser(argparse.ArgumentParser):
    """An `ArgumentParser` that raises ConfigError where argparse would print its usage and exit."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}; {self.prog} --help tells how it is used")
