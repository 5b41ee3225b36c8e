"""The commands beside training, `dqrun VERB ...`, with their messages after an interruption.

The module of a verb has `build_parser()` and `main(argv)`. It imports neither torch nor pandas, so that help, errors
and shell completion are fast; `main` imports them after it has read the command line.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, cast

if TYPE_CHECKING:
    from argparse import ArgumentParser


class VerbModule(Protocol):
    """The interface of the module of a verb."""

    def build_parser(self) -> ArgumentParser:
        """The parser of the words after the verb."""

    def main(self, argv: Sequence[str]) -> int:
        """Runs the command and returns the exit code; raises DqrunError for errors that the user can correct."""


@dataclass(frozen=True)
class Verb:
    """One command: its module, its line in `dqrun --help`, and its state after Ctrl-C, for the message."""

    module: str
    meaning: str
    interrupted: str
    takes_runs: bool = False
    """Whether its words may name runs of the results folder; shell completion offers them."""
    takes_overrides: bool = False
    """Whether its words may be GROUP=OPTION; shell completion offers them."""
    takes_plugins: bool = False
    """Whether plugins=[...] may be among its words, because it builds networks of runs, which may need plug-ins."""

    def load(self) -> VerbModule:
        """The imported module."""
        return cast("VerbModule", importlib.import_module(self.module))


_NOTHING_WRITTEN = "no file was written"
_REPEAT = "some trials are changed, others not yet: the same command does the rest"
_KEPT = "finished trials are kept, the same command goes on"

VERBS = {
    "ls": Verb(
        "dqrun.cli.verbs.ls", "trials, with conditions: dqrun ls [DIR] status=failed 'seed<5'", _NOTHING_WRITTEN
    ),
    "show": Verb(
        "dqrun.cli.verbs.show", "one trial: row, settings, history, files: dqrun show RUN", _NOTHING_WRITTEN, True
    ),
    "tag": Verb(
        "dqrun.cli.verbs.tag", "tags and notes of trials: dqrun tag RUN|FILTER --add WORDS [--note TEXT]", _REPEAT, True
    ),
    "continue": Verb(
        "dqrun.cli.verbs.continuing",
        "more epochs of a run that kept its state: dqrun continue RUN train.epochs=N",
        _KEPT,
        True,
        takes_plugins=True,
    ),
    "rm": Verb("dqrun.cli.verbs.rm", "removes trials: dqrun rm RUN|FILTER [--dry-run]", _REPEAT, True),
    "compare": Verb("dqrun.analysis.compare", "tables of the results so far: dqrun compare [DIR]", _NOTHING_WRITTEN),
    "leaderboard": Verb(
        "dqrun.analysis.leaderboard",
        "methods by width, with what each costs: dqrun leaderboard [DIR]",
        _NOTHING_WRITTEN,
        takes_plugins=True,
    ),
    "plot": Verb(
        "dqrun.analysis.plot",
        "pictures of them: dqrun plot curves|bars|pareto|degree [DIR] -o FILE",
        _NOTHING_WRITTEN,
        takes_plugins=True,
    ),
    "report": Verb(
        "dqrun.analysis.page",
        "one HTML page with both: dqrun report [DIR] -o report.html",
        _NOTHING_WRITTEN,
        takes_plugins=True,
    ),
    "publish": Verb(
        "dqrun.analysis.publish",
        "trials as a study of few files: dqrun publish RESULTS -o STUDY",
        "the study has all of the new trials or none",
        takes_plugins=True,
    ),
    "export": Verb(
        "dqrun.cli.verbs.export",
        "the integer program of a run: dqrun export RUN [--format F] [-o PATH]",
        _NOTHING_WRITTEN,
        True,
        takes_plugins=True,
    ),
    "predict": Verb(
        "dqrun.cli.verbs.predict",
        "a run or a program on graphs: dqrun predict RUN|FILE --dataset NAME|DIR|FILES [-o CSV]",
        "no predictions were written",
        True,
        takes_plugins=True,
    ),
    "robustness": Verb(
        "dqrun.cli.verbs.robustness",
        "wrong edges and features, flipped bits of weights: dqrun robustness RUN... --flips 1,10",
        "no file was written",
        True,
        takes_plugins=True,
    ),
    "tune": Verb(
        "dqrun.tune.cli",
        "searches settings by validation: dqrun tune [GROUP=OPTION ...] [--trials N]",
        _KEPT,
        takes_overrides=True,
    ),
    "bench": Verb(
        "dqrun.bench.cli",
        "times beside PyG's: dqrun bench training [GROUP=OPTION ...], dqrun bench inference [FILE|RUN --dataset X]",
        "the tables above are complete, the current measurement is lost, no JSON file was written",
        takes_overrides=True,
    ),
}
"""In the order of `dqrun --help`."""

MAIN_INTERRUPTED = _KEPT
