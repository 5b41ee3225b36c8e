"""The plan of a sweep: all trials of a command, and which of them already have a row."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dqrun.analysis.meter import count
from dqrun.config import RunConfig
from dqrun.data.fingerprint import fingerprint
from dqrun.runs.protocol import Trial, cell_hash, named_trials, trial_hash, warm_start_of
from dqrun.runs.store import Results

ALL_PARTS = ("train", "val", "test")


@dataclass(frozen=True)
class PlannedTrial:
    """One trial of a sweep, with everything that a worker in another process needs to run it."""

    config: RunConfig
    trial: Trial
    name: str
    """Its run_id, also of its lock and its checkpoint."""
    config_hash: str
    superseded: str | None = None
    """`finished_utc` of a row that does not count: of a failure, or of any row with rerun=true."""
    parts: Sequence[str] = ALL_PARTS
    """Parts of the data that are evaluated at the end; a search leaves the test data alone."""
    alone: bool = False
    """Whether the command asks for one configuration: a dataset that can't be read then ends it, unrecorded."""
    start: PlannedTrial | None = None
    """The FP32 trial whose parameters this one begins with; it is in the same plan."""

    @property
    def root(self) -> str:
        """The results folder."""
        return self.config.results.dir

    def finished(self, results: Results) -> dict[str, Any] | None:
        """The trial's row, if it has one that counts; else None."""
        row = results.row(self.name, self.config_hash)
        return None if row is None or row["finished_utc"] == self.superseded else row


@dataclass(frozen=True)
class Plan:
    """Trials in the order in which they are to be run."""

    to_do: list[PlannedTrial]
    known: list[PlannedTrial]
    """Trials that have a row."""
    cells: dict[str, Results]
    """Results folder of each cell hash, in the order of the command."""
    checkpointed: int
    """How many of `to_do` have a checkpoint to go on from."""

    def with_threads(self, threads: int) -> Plan:
        """The same plan with this number of threads for trials whose configuration does not set it."""

        def fixed(planned: PlannedTrial) -> PlannedTrial:
            start = None if planned.start is None else fixed(planned.start)
            config = replace(planned.config, threads=planned.config.threads or threads)
            return replace(planned, config=config, start=start)

        return replace(self, to_do=[fixed(planned) for planned in self.to_do])

    def describe(self) -> str:
        """The plan in a line: `plan: 12 trials of 4 configurations, 5 already done, 7 to do`."""
        total = len(self.to_do) + len(self.known)
        words = [f"plan: {count(total, 'trial')} of {count(len(self.cells), 'configuration')}"]
        words += [f"{len(self.known)} already done (rerun=true runs them again)"] if self.known else []
        words += [f"{len(self.to_do)} to do"]
        words += [f"{self.checkpointed} of them from a checkpoint"] if self.checkpointed else []
        return ", ".join(words)


def is_complete(row: dict[str, Any], config: RunConfig) -> bool:
    """Whether a recorded row has all values that this configuration demands."""
    has_integer = row["test_metric_integer"] is not None
    return row["status"] == "done" and (has_integer or config.evaluate.engine != "integer")


def make_plan(configs: Sequence[RunConfig], parts: Sequence[str] = ALL_PARTS) -> Plan:
    """The plan of a command; a trial that two configurations share is in it once.

    FP32 trials of warm starts come first; they count as done only if their model file exists too. Raises ResultsError
    for a results folder that can't be written to.
    """
    folders = {folder: Results(folder) for folder in dict.fromkeys(config.results.dir for config in configs)}
    starts = [start for config in configs if (start := warm_start_of(config)) is not None]
    needed = {cell_hash(start, fingerprint(start.dataset)) for start in starts}
    to_do: dict[tuple[Path, str], PlannedTrial] = {}
    known: dict[tuple[Path, str], PlannedTrial] = {}
    cells: dict[str, Results] = {}
    for config in [*starts, *configs]:
        results, mark = folders[config.results.dir], fingerprint(config.dataset)
        start, cell = warm_start_of(config), cell_hash(config, mark)
        cells[cell] = results
        for trial, name, own in named_trials(config, mark):
            row = results.row(name, own)
            counts = row is not None and is_complete(row, config) and not config.rerun
            counts = counts and (cell not in needed or results.has_model(row))
            superseded = None if row is None or counts else row["finished_utc"]
            before = None if start is None else (known | to_do)[results.root, trial_hash(start, trial, mark)]
            planned = PlannedTrial(config, trial, name, own, superseded, parts, len(configs) == 1, before)
            (known if counts else to_do).setdefault((results.root, own), planned)
    kept = sum(os.path.exists(folders[planned.root].checkpoint_path(planned.name)) for planned in to_do.values())
    return Plan(list(to_do.values()), list(known.values()), cells, kept)
