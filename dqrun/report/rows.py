"""The rows of one or more results folders: merged, each trial once, with a complaint for whatever was not counted.

Reads row.json with plain Python: `dqrun compare` needs no pandas and starts at once.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dqrun.config import RunConfig, schema
from dqrun.errors import DataError, ResultsError
from dqrun.protocol import younger_fields

TEXTS = (
    "run_id", "dataset", "task", "model", "quant", "method", "plan", "protocol", "metric", "status", "config_hash",
    "cell_hash", "finished_utc",
)  # fmt: skip
"""Fields of a row that comparisons need as text; `seed` and the metrics are checked as numbers."""

RESULT = ("status", "epochs", "best_epoch", "train_metric", "val_metric", "test_metric")
"""What two rows of the same trial must agree in to be equal; time, machine and version may differ."""

SHOWN_CONFLICTS = 5


@dataclass(frozen=True)
class Run:
    """One trial: its row and the folder it lies in."""

    row: dict[str, Any]
    folder: Path

    @property
    def done(self) -> bool:
        return bool(self.row["status"] == "done")

    @property
    def key(self) -> tuple[int, int]:
        """What pairs trials of two configurations: seed and fold (-1: no folds)."""
        fold = self.row.get("fold")
        return int(self.row["seed"]), -1 if fold is None else int(fold)

    @cached_property
    def config(self) -> dict[str, Any] | None:
        """The trial's config.yaml as plain dictionaries, or None where it is missing or unreadable.

        Fields that are younger than the trial have the values that say what it did.
        """
        import yaml

        try:
            tree = yaml.load(
                (self.folder / "config.yaml").read_bytes(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)
            )
        except (OSError, yaml.YAMLError):
            return None
        if not isinstance(tree, dict):
            return None
        for part, field, value in younger_fields(tree):
            part.setdefault(field, value)
        return tree

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
    """The run's configuration from config.yaml; raises DataError where it is missing or of another schema."""
    path = run.folder / "config.yaml"
    tree: dict[str, Any] | None = run.config
    if tree is None:
        raise DataError(f"{path} can't be read")
    try:
        config = OmegaConf.to_object(OmegaConf.merge(schema(), OmegaConf.create(tree)))
    except OmegaConfBaseException as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{path} does not fit this version of dqrun ({reason})") from None
    assert isinstance(config, RunConfig)
    return config


def load_runs(dirs: Sequence[str | Path]) -> tuple[list[Run], list[str]]:
    """All trials of the results folders, oldest first, and complaints about what was not counted.

    A trial that is there twice with equal results counts once; with conflicting results it does not count, since
    nothing tells which is right; one that failed here and was done there counts as done. Raises ResultsError where a
    folder holds no runs or no trial is left.
    """
    runs, complaints = [], []
    for folder in dict.fromkeys(Path(name).expanduser().resolve() for name in dirs):
        found, damaged = _read_folder(folder)
        runs += found
        complaints += damaged
    runs, duplicates = _without_duplicates(runs)
    if not runs:
        raise ResultsError(f"no finished trials in {', '.join(map(str, dirs))}")
    return sorted(runs, key=lambda run: (run.row["finished_utc"], run.row["run_id"])), complaints + duplicates


def _read_folder(folder: Path) -> tuple[list[Run], list[str]]:
    if not (folder / "runs").is_dir():
        raise ResultsError(f"no results in {str(folder)!r}: it has no folder runs/")
    runs, complaints = [], []
    for path in sorted(path for path in (folder / "runs").iterdir() if path.is_dir() and path.name[0] != "."):
        try:
            row = json.loads((path / "row.json").read_bytes())
            _check(row)
        except (OSError, ValueError) as error:
            reason = "it is missing" if isinstance(error, FileNotFoundError) else error
            complaints.append(f"{path / 'row.json'} is damaged and was skipped ({reason})")
        else:
            runs.append(Run(row, path))
    return runs, complaints


def _check(row: object) -> None:
    """Raises ValueError for a row that cannot be compared."""
    if not isinstance(row, dict):
        raise ValueError("not a JSON object")
    missing = [name for name in (*TEXTS, "seed", "test_metric", "higher_is_better") if name not in row]
    if missing:
        raise ValueError(f"it lacks {', '.join(missing)}")
    for name in TEXTS:
        if not isinstance(row[name], str):
            raise ValueError(f"{name} must be text, got {row[name]!r}")
    if row["status"] not in ("done", "failed"):
        raise ValueError(f"status must be done or failed, got {row['status']!r}")
    if type(row["seed"]) is not int or type(row.get("fold")) not in (int, type(None)):
        raise ValueError(f"seed and fold must be integers, got {row['seed']!r} and {row.get('fold')!r}")
    value = row["test_metric"]
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if row["status"] == "done" and not number:
        raise ValueError(f"test_metric must be a finite number, got {value!r}")


def _without_duplicates(runs: list[Run]) -> tuple[list[Run], list[str]]:
    by_hash: dict[str, list[Run]] = {}
    for run in runs:
        by_hash.setdefault(run.row["config_hash"], []).append(run)
    kept, conflicts = [], []
    equal: Counter[str] = Counter()
    for same in by_hash.values():
        done = [run for run in same if run.done] or same[:1]
        if len({tuple(run.row.get(name) for name in RESULT) for run in done}) > 1:
            conflicts.append(_conflict(done))
            continue
        kept.append(done[0])
        if len(same) > 1:
            equal[" and ".join(sorted({str(run.folder.parent.parent) for run in same}))] += 1
    complaints = [f"{_trials(count)} in {places}, without conflict: counted once" for places, count in equal.items()]
    rest = len(conflicts) - SHOWN_CONFLICTS
    return kept, complaints + conflicts[:SHOWN_CONFLICTS] + ([f"{rest} more such conflicts"] if rest > 0 else [])


def _trials(count: int) -> str:
    return f"{count} trial is more than once" if count == 1 else f"{count} trials are more than once"


def _conflict(runs: list[Run]) -> str:
    values = ", ".join(f"{run.row['test_metric']} in {run.folder}" for run in runs)
    return f"trial {runs[0].row['config_hash']} has conflicting results and does not count (test_metric {values})"
