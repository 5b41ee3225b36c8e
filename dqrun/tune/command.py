"""`dqrun tune`: runs the searches of a command line to their end."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dqrun.analysis.progress import Progress
from dqrun.analysis.tables import align
from dqrun.composition.compose import load_jobs
from dqrun.config import RunConfig
from dqrun.errors import ConfigError, DqrunError
from dqrun.paths import user_path
from dqrun.process.cores import usable_cores
from dqrun.ranks.meeting import rank_here
from dqrun.runs.protocol import trials
from dqrun.runs.store import Results
from dqrun.sweep.run import run_plan
from dqrun.sweep.tidying import tidy
from dqrun.tune.preset import write_preset
from dqrun.tune.space import space_of
from dqrun.tune.study import Search, Tried

PARTS = ("train", "val")
"""The parts of the data that a search evaluates: never the test data."""


class SearchProgress(Progress):
    """Reports settings, not the trials of each setting."""

    def plan(self, text: str, to_do: int, known: int) -> None:
        self.known += known

    def finished(self, row: Mapping[str, Any], here: bool = True) -> None:
        if row["status"] != "done":
            super().finished(row, here)

    def tried(self, search: Search, tried: Tried) -> None:
        """Prints a line about the settings that were tried."""
        best = search.best()
        shown = "failed" if tried.value is None else f"validation {search.objective} {tried.value:.4f}"
        top = "" if best is None or best.value is None else f", best {best.value:.4f} (trial {best.number})"
        self.say(f"{search.name}: trial {tried.number}, {len(search.tried())} of {search.budget}: {shown}{top}")

    def warn(self, text: str) -> None:
        """Prints a line about a damaged file, even with `--quiet`."""
        self.complain([text])

    def say(self, text: str) -> None:
        """Prints a line, unless `--quiet` is given."""
        if not self.quiet:
            self.note(text)


def run_command(options: argparse.Namespace, argv: list[str]) -> int:
    """Runs the searches of parsed options and returns the exit code; `argv`: the words of the command line.

    Raises DqrunError if all settings of a search failed, ConfigError under torchrun or srun.
    """
    jobs = load_jobs(options.overrides, multirun=True, config_dir=options.config_dir)
    if rank_here(jobs[0].config) is not None:
        raise ConfigError(
            "dqrun tune starts the processes of a trial itself: run it without torchrun or srun around it"
        )
    names = None if options.search is None else options.search.split(",")
    spaces = [space_of(job.config, names) for job in jobs]
    searches = [
        Search(job, space, options.trials, user_path(job.config.results.dir) / "tune", options.bits_weight)
        for job, space in zip(jobs, spaces, strict=True)
    ]
    progress = SearchProgress(options.quiet)
    for line in jobs[0].left_out:
        progress.say(line)
    for search in searches:
        dimensions = "; ".join(dimension.describe() for dimension in search.space)
        progress.say(
            f"{search.name}: {search.budget - search.left} of {search.budget} settings asked so far; {dimensions}"
        )
    try:
        run_searches(searches, progress)
    finally:  # also if nothing is left to train: an earlier command may have been killed before it tidied up
        for folder in dict.fromkeys(search.folder for search in searches):
            progress.complain(tidy(Results(folder)))
    return finish(searches, options, progress, argv)


def run_searches(searches: Sequence[Search], progress: SearchProgress) -> None:
    """Asks for settings, trains and records results until all budgets are spent; each round is one sweep."""
    while True:
        count = settings_at_once([search.config for search in searches])
        asked = [(search, number) for search in searches for number in search.ask(count, progress.say, progress.warn)]
        if not asked:
            return
        run_plan([search.config_of(number) for search, number in asked], progress, PARTS)
        for search, number in asked:
            progress.tried(search, search.tell(number))


def settings_at_once(configs: Sequence[RunConfig]) -> int:
    """The number of settings per search and round that keeps all processes of the launcher busy; 1 without them."""
    first = configs[0]
    if first.launcher.name == "plain":
        return 1
    trials_of_a_round = sum(len(trials(config.protocol)) for config in configs)
    return max(1, math.ceil((first.jobs or usable_cores()) / trials_of_a_round))


def finish(searches: Sequence[Search], options: argparse.Namespace, progress: SearchProgress, argv: list[str]) -> int:
    """Writes the presets and prints the best settings; returns 0.

    Raises DqrunError if all settings of a search failed.
    """
    lines, commands, failed = [], [], []
    for search in searches:
        best, default = search.best(), search.tried()[0]
        if best is None:
            failed.append(search.name)
            continue
        folder = Path(options.output or options.config_dir or search.folder / "configs")
        with search.rounds.alone(progress.say):  # another command on this search may end at this moment
            preset = write_preset(search, best, folder, argv)
        settings = " ".join(f"{name.split('.', 1)[1]}={value:g}" for name, value in best.values.items())
        shown = "failed" if default.value is None else f"{default.value:.4f}"
        lines.append(
            {
                "study": search.name,
                "default": shown,
                "best": f"{best.value:.4f}",
                "settings": settings or "the defaults",
            }
        )
        commands.append(f"dqrun --config-dir {folder} experiment={preset.stem}")
    if not options.quiet and lines:
        print(align(lines))
        print("to train with the best settings and read the test data:", *commands, sep="\n  ")
    if failed:
        raise DqrunError(f"no setting gave a result in {', '.join(failed)}")
    return 0
