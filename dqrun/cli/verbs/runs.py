"""Finds the trials in the words of verbs: a run's folder, its name in the results folder, or conditions on its row."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from dqrun.analysis.meter import count
from dqrun.analysis.rows import Run
from dqrun.analysis.select import Filter, choose, split_words
from dqrun.analysis.text import for_terminal
from dqrun.cli.verbs.trials import list_trials
from dqrun.composition.arguments import add_results
from dqrun.errors import ResultsError, suggestion
from dqrun.paths import user_path
from dqrun.runs.folders import find_folder


def add_choice(parser: argparse.ArgumentParser) -> None:
    """Adds the words of `chosen` and the option of the results folder."""
    parser.add_argument(
        "words",
        nargs="+",
        metavar="RUN|FILTER",
        help="names of runs, and conditions that all of them must meet: status=failed quant=int4 'seed<5'",
    )
    add_results(parser)


def find_trial(run: str, results: Path) -> Run:
    """The trial of that name or folder, in a results folder or a study; raises ResultsError if there is none.

    Prints complaints about files that could not be read on stderr.
    """
    trial, complaints = _find(run, results)
    tell(complaints)
    return trial


def chosen(words: Sequence[str], results: Path) -> list[Run]:
    """The trials named in `words` that meet all conditions in `words`; without names, all such trials.

    Prints complaints about files that could not be read on stderr. Raises ResultsError for an unknown name, without any
    trials, and if none meets a condition, ConfigError for a condition on an unknown field.
    """
    names, filters = split_words(words)
    if names:
        found = [_find(name, results) for name in names]
        trials, complaints = [trial for trial, _ in found], [text for _, texts in found for text in texts]
    else:
        trials, complaints = list_trials(user_path(results))
    if not trials:
        raise ResultsError(f"there are no trials in {results}")
    distinct = list({(trial.folder, trial.row["run_id"]): trial for trial in trials}.values())
    kept = known_to(filters, choose(distinct, filters))
    tell(complaints)
    return kept


def _find(run: str, results: Path) -> tuple[Run, list[str]]:
    folder = find_folder(run, results)
    place, name = (folder.parents[1], folder.name) if folder is not None else (user_path(results), run)
    trials, complaints = list_trials(place)
    found = [trial for trial in trials if trial.row["run_id"] == name]
    if not found:
        near = suggestion(name, [str(trial.row["run_id"]) for trial in trials])
        raise ResultsError(f"there is no run {name!r} in {place}{near}")
    return found[0], complaints


def conclude(changed: int, done: str, left: Sequence[str]) -> int:
    """Prints how many trials were changed (`done`: e.g. "removed") and why others were not; returns the exit code."""
    tell(left)
    print(f"{count(changed, 'trial')} {done}")
    return 2 if left else 0


def tell(texts: Iterable[str]) -> None:
    """Prints each complaint once on stderr, one per line."""
    for text in dict.fromkeys(texts):
        print(f"dqrun: {for_terminal(text)}", file=sys.stderr)


def known_to(filters: Sequence[Filter], trials: list[Run]) -> list[Run]:
    """The trials that have all fields of the conditions: `quant!=int4` does not choose a trial without a row."""
    return [trial for trial in trials if all(trial.has(condition.name) for condition in filters)]
