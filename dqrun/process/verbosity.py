"""Warnings, and with `-v` details about a command's work, as lines on stderr.

Modules write to loggers below `dqrun`. Processes that a command starts inherit `-v` through an environment variable.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

VARIABLE = "DQRUN_VERBOSE"


class _Lines(logging.Handler):
    """Writes each record as one line on the stderr of that moment, above the progress bars."""

    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm  # here: a command that logs nothing does not import it

        tqdm.write(f"dqrun: {record.getMessage()}", file=sys.stderr)


@contextmanager
def log_shown() -> Iterator[None]:
    """Inside the block warnings of dqrun's modules are shown, with `-v` all their messages; afterwards as before."""
    logger, handler = logging.getLogger("dqrun"), _Lines()
    level, variable = logger.level, os.environ.get(VARIABLE)
    logger.addHandler(handler)
    logger.setLevel(logging.INFO if is_verbose() else logging.WARNING)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        if variable is None:
            os.environ.pop(VARIABLE, None)


def is_verbose() -> bool:
    """Whether this process, or the one that started it, was given `-v`."""
    return bool(os.environ.get(VARIABLE))


def add_verbose(parser: argparse.ArgumentParser) -> None:
    """Gives a parser the flag `-v`, which works as soon as it is read."""
    parser.add_argument("-v", "--verbose", action=_Verbose, nargs=0, help="tell on stderr what is found and chosen")


class _Verbose(argparse.Action):
    def __call__(self, *arguments: Any, **named: Any) -> None:
        os.environ[VARIABLE] = "1"
        logging.getLogger("dqrun").setLevel(logging.INFO)
