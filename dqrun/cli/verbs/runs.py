"""How verbs name trials: a run's folder, its name in the results folder, or conditions on its row."""

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
    """The words that `chosen` reads."""
    parser.add_argument(
        "words",
        nargs="+",
        metavar="RUN|FILTER",
        help="names of runs, and conditions that all of them must meet: status=failed quant=int4 'seed<5'",
    )
    add_results(parser)


def find_trial(run: str, results: Path) -> Run:
    """The trial of that name or folder, in a results folder or a study; raises ResultsError where there is none.

    What could not be read beside it is told on stderr.
    """
    trial, complaints = _find(run, results)
    tell(complaints)
    return trial


def chosen(words: Sequence[str], results: Path) -> list[Run]:
    """The trials of one results folder that words name, and of these the ones that all conditions accept.

    Conditions alone choose among all trials. What could not be read is told on stderr. Raises ResultsError for an
    unknown name and for nothing chosen, ConfigError for a condition on an unknown field.
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
    """Says how many trials were changed (`done`: "removed") and why others were not; returns the exit code."""
    tell(left)
    print(f"{count(changed, 'trial')} {done}")
    return 2 if left else 0


def tell(texts: Iterable[str]) -> None:
    """Complaints, a line each on stderr, each once."""
    for text in dict.fromkeys(texts):
        print(f"dqrun: {for_terminal(text)}", file=sys.stderr)


def known_to(filters: Sequence[Filter], trials: list[Run]) -> list[Run]:
    """The trials that have all fields of the conditions: `quant!=int4` does not choose a trial without a row."""
    return [trial for trial in trials if all(trial.has(condition.name) for condition in filters)]
