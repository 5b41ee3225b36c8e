"""The trials of one or more results folders and studies: merged, with a complaint for each row that was not counted.

Reads rows with plain Python: `dqrun compare` needs no pandas and starts at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from omegaconf.errors import OmegaConfBaseException

from dqrun.analysis.study import CONFIGS, is_study, read_study
from dqrun.config import RunConfig
from dqrun.config.reading import config_from
from dqrun.errors import ConfigError, DataError, ResultsError
from dqrun.paths import real_path
from dqrun.runs.protocol import completed
from dqrun.runs.records import parse_yaml, read_text
from dqrun.runs.row import Kinship, environment, kinship, read_row

SHOWN_CONFLICTS = 5


class Configuration:
    """The configuration of trials: a file of its own, or an entry of a study's file; parsed at its first use."""

    def __init__(self, path: Path, text: str | None = None) -> None:
        """`text`: the YAML, if `path` contains more than that; None: the content of `path`."""
        self.path = path
        self._text = text

    @cached_property
    def tree(self) -> dict[str, Any] | None:
        """Plain dictionaries, or None if the file is missing or unreadable."""
        try:
            return completed(parse_yaml(read_text(self.path) if self._text is None else self._text))
        except (OSError, ValueError):
            return None

    @cached_property
    def checked(self) -> RunConfig:
        """As a RunConfig; raises DataError if the file is missing or does not fit the schema."""
        if self.tree is None:
            raise DataError(f"{self.path} can't be read")
        try:
            return config_from(self.tree)
        except (OmegaConfBaseException, ConfigError) as error:
            reason = str(error).splitlines()[0]
            raise DataError(f"{self.path} does not fit this version of dqrun ({reason})") from None


@dataclass(frozen=True)
class Run:
    """One trial: its row, and the folder of its run or of the study that it is in."""

    row: dict[str, Any]
    folder: Path
    own: Configuration | None = None  # None: config.yaml in the folder

    @cached_property
    def configuration(self) -> Configuration:
        """The run's configuration file or entry."""
        return self.own or Configuration(self.folder / "config.yaml")

    @property
    def place(self) -> Path:
        """The results folder or study that holds it."""
        return self.folder.parent.parent if self.own is None else self.folder

    @property
    def done(self) -> bool:
        return bool(self.row["status"] == "done")

    @property
    def key(self) -> tuple[int, int]:
        """The key that pairs trials of two configurations: seed and fold (-1: no folds)."""
        fold = self.row.get("fold")
        return int(self.row["seed"]), -1 if fold is None else int(fold)

    @property
    def config(self) -> dict[str, Any] | None:
        """The trial's configuration as plain dictionaries, or None where it is missing or unreadable."""
        return self.configuration.tree

    def has(self, name: str) -> bool:
        """Whether `value` knows the field."""
        if name in self.row:
            return True
        try:
            self._configured(name)
        except KeyError:
            return False
        return True

    def value(self, name: str) -> Any:
        """A column of the row, or a field of the configuration by its dotted name; None where there is none."""
        if name in self.row:
            return self.row[name]
        try:
            return self._configured(name)
        except KeyError:
            return None

    def _configured(self, name: str) -> Any:
        node: Any = self.config or {}
        for part in name.split("."):
            if not isinstance(node, dict):
                raise KeyError(name)
            node = node[part]
        return node


def config_of(run: Run) -> RunConfig:
    """The run's configuration; raises DataError where it is missing or of another schema."""
    return run.configuration.checked


def load_runs(dirs: Sequence[str | Path]) -> tuple[list[Run], list[str]]:
    """All trials of results folders and studies, oldest first, and complaints about rows that were not counted.

    Of several rows of one trial with equal results one counts. Different results from different environments (threads,
    processor, versions) are replicates: all stay, and `Cell` averages them. Different results from the same environment
    contradict each other: none counts, because it is unknown which is right. A trial that failed in one folder and
    finished in another counts as finished. Raises ResultsError if a folder has no trials.
    """
    runs, complaints = [], []
    for folder in dict.fromkeys(real_path(name) for name in dirs):
        found, damaged = _read_folder(folder)
        runs += found
        complaints += damaged
    runs, duplicates = _without_duplicates(runs)
    if not runs:
        why = f": {complaints[0]}" if complaints else ""
        raise ResultsError(f"no finished trials in {', '.join(map(str, dirs))}{why}")
    return sorted(runs, key=lambda run: (run.row["finished_utc"], run.row["run_id"])), complaints + duplicates


def _read_folder(folder: Path) -> tuple[list[Run], list[str]]:
    if is_study(folder):
        study, complaints = read_study(folder)
        configurations = {cell: Configuration(folder / CONFIGS, text) for cell, text in study.configs.items()}
        return [Run(row, folder, configurations[row["cell_hash"]]) for row in study.rows], complaints
    if not (folder / "runs").is_dir():
        raise ResultsError(f"no results in {str(folder)!r}: it has no folder runs/ and no {CONFIGS} of a study")
    runs, complaints = [], []
    for path in sorted(path for path in (folder / "runs").iterdir() if path.is_dir() and path.name[0] != "."):
        try:
            runs.append(Run(read_row(path / "row.json"), path))
        except (OSError, ValueError) as error:
            reason = "it is missing" if isinstance(error, FileNotFoundError) else error
            complaints.append(f"{path / 'row.json'} is damaged and was skipped ({reason})")
    return runs, complaints


def _without_duplicates(runs: list[Run]) -> tuple[list[Run], list[str]]:
    by_trial: dict[str, list[Run]] = {}
    for run in runs:
        by_trial.setdefault(run.row["config_hash"], []).append(run)
    kept, conflicts = [], []
    equal: Counter[str] = Counter()
    for rows in by_trial.values():
        done = [run for run in rows if run.done] or rows[:1]
        replicates: list[Run] = []
        for same in _by_environment(done):
            if any(kinship(same[0].row, run.row) is Kinship.CONFLICT for run in same):
                conflicts.append(_conflict(same))
            elif all(kinship(same[0].row, run.row) is not Kinship.EQUAL for run in replicates):
                replicates.append(same[0])
        if replicates and len(replicates) < len(rows):
            equal[" and ".join(sorted({str(run.place) for run in rows}))] += 1
        kept += replicates
    complaints = [f"{_trials(count)} in {places}, without conflict: counted once" for places, count in equal.items()]
    rest = len(conflicts) - SHOWN_CONFLICTS
    return kept, complaints + conflicts[:SHOWN_CONFLICTS] + ([f"{rest} more such conflicts"] if rest > 0 else [])


def _by_environment(runs: list[Run]) -> list[list[Run]]:
    groups: dict[tuple[Any, ...], list[Run]] = {}
    for run in runs:
        groups.setdefault(environment(run.row), []).append(run)
    return list(groups.values())


def _trials(count: int) -> str:
    return f"{count} trial is more than once" if count == 1 else f"{count} trials are more than once"


def _conflict(runs: list[Run]) -> str:
    values = ", ".join(f"{run.row['test_metric']} in {run.folder}" for run in runs)
    return f"trial {runs[0].row['config_hash']} has conflicting results and does not count (test_metric {values})"
