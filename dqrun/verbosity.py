"""`-v`: what is found, chosen and waited for on the way, as lines on stderr.

Modules tell it to `logging.getLogger("dqrun")` at level INFO. Processes that this one starts inherit the choice
through an environment variable.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from typing import Any

VARIABLE = "DQRUN_VERBOSE"


class _Lines(logging.Handler):
    """Writes each record as one line on the stderr of that moment, above the progress bars."""

    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm  # here: what is not verbose does not import it

        tqdm.write(f"dqrun: {record.getMessage()}", file=sys.stderr)


def show_log() -> None:
    """Shows what dqrun's modules log, in this process and in those that it starts from now on."""
    os.environ[VARIABLE] = "1"
    logger = logging.getLogger("dqrun")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    if not any(isinstance(handler, _Lines) for handler in logger.handlers):
        logger.addHandler(_Lines())


def is_verbose() -> bool:
    """Whether this process, or the one that started it, was given `-v`."""
    return bool(os.environ.get(VARIABLE))


def add_verbose(parser: argparse.ArgumentParser) -> None:
    """Gives a parser the flag `-v`, which works as soon as it is read."""
    parser.add_argument("-v", "--verbose", action=_Verbose, nargs=0, help="tell on stderr what is found and chosen")


class _Verbose(argparse.Action):
    def __call__(self, *arguments: Any, **named: Any) -> None:
        show_log()
