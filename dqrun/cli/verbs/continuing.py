"""`dqrun continue RUN train.epochs=N`: more epochs of a trained run that kept its state (`train.keep_state=true`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from dqrun.analysis.rows import config_of
from dqrun.cli.verbs.runs import find_trial
from dqrun.cli.verbs.trials import UNFINISHED, require_results
from dqrun.composition.arguments import VerbParser, add_results
from dqrun.config import DataConfig
from dqrun.config.run import LauncherConfig, ResultsConfig
from dqrun.errors import ConfigError, ResultsError
from dqrun.runs.protocol import Trial

EPOCHS, THREADS = "train.epochs", "threads"


def main(argv: Sequence[str]) -> int:
    """Continues the training as a new run beside the old one. Returns the exit code of a training."""
    arguments = build_parser().parse_intermixed_args(argv)
    epochs, threads = _numbers(arguments.words)
    trial = find_trial(arguments.run, Path(arguments.results))
    root = trial.folder.parents[1]
    require_results(root)
    if trial.row["status"] in UNFINISHED:
        raise ResultsError(f"{trial.row['run_id']} is {trial.row['status']}: the command that ran it goes on with it")
    config = config_of(trial)
    here = replace(
        config,
        data=DataConfig(),  # the folders of the present user, not those in the run's file
        results=ResultsConfig(dir=str(root)),
        launcher=LauncherConfig(),  # a single trial needs no launcher
        jobs=0,
        rerun=False,
        threads=config.threads if threads is None else threads,
    )

    from dqrun.data.stored import require_known_code
    from dqrun.sweep.run import run_all
    from dqrun.training.checkpoints import continuation  # these import torch: only now that the command line is right

    require_known_code(config.dataset)
    longer = continuation(here, trial.folder, epochs, Trial(trial.row["seed"], trial.row["fold"]))
    longer.validate()
    return run_all([longer], quiet=arguments.quiet)


def build_parser() -> VerbParser:
    """The words of the verb."""
    parser = VerbParser(
        prog="dqrun continue",
        description="Trains a run on to N epochs, from the state that train.keep_state=true kept. The result is a run "
        "of its own, the one that N epochs from the beginning would have given, bit by bit; the old one stays. A run "
        "that was interrupted needs no verb: the command that started it goes on.",
    )
    parser.add_argument("run", metavar="RUN", help="a run folder, or the name of a run in the results folder")
    parser.add_argument(
        "words", nargs="+", metavar=f"{EPOCHS}=N", help=f"epochs in all; {THREADS}=N may stand beside it"
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="errors only")
    add_results(parser)
    return parser


def _numbers(words: Sequence[str]) -> tuple[int, int | None]:
    """Epochs and threads; raises ConfigError for other words: all other settings must stay as they were."""
    found: dict[str, int] = {}
    for word in words:
        name, _, value = word.partition("=")
        if name not in (EPOCHS, THREADS):
            raise ConfigError.rule("dqrun continue", f"be given {EPOCHS}=N or {THREADS}=N alone", word)
        if not (value.isascii() and value.isdecimal() and len(value) < 10):
            raise ConfigError.rule(name, "be an integer >= 0", value)
        found[name] = int(value)
    if EPOCHS not in found:
        raise ConfigError(f"dqrun continue needs {EPOCHS}=N, the epochs in all")
    return found[EPOCHS], found.get(THREADS)
