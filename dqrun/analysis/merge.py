"""Merges rows into a study, which may already have a row of the same trial."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from dqrun.analysis.rows import Run
from dqrun.errors import ResultsError
from dqrun.runs.row import RESULT, Kinship, kinship

INTEGER = ("test_metric_integer", "integer_agreement", "integer_agreement_float32")
"""Columns that only rows of trials with an integer program fill."""


class Merge:
    """The runs of a study, and counts of the added ones by result: `new`, `replaced`, `there before`."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self.runs = list(runs)
        self.counts: Counter[str] = Counter()
        self._places: dict[str, list[int]] = {}
        for place, run in enumerate(self.runs):
            self._places.setdefault(run.row["config_hash"], []).append(place)

    def add(self, run: Run) -> None:
        """Adds a run unless the study has its result; it replaces a row of its trial if it is better (`_is_better`).

        A different result from another environment (threads, processor, versions) is kept in addition. Raises
        ResultsError for a different result from the same environment.
        """
        places = self._places.setdefault(run.row["config_hash"], [])
        same = [self.runs[place] for place in places]
        for place, other in zip(places, same, strict=True):
            if _is_better(run, other):
                self.runs[place] = run
                self.counts["replaced"] += 1
                return
        for other in same if run.done else ():
            _require_agreement(run, other)
        if any(_agree(run, other) or not run.done for other in same):
            self.counts["there before"] += 1
            return
        places.append(len(self.runs))
        self.runs.append(run)
        self.counts["new"] += 1


def is_dirty(run: Run) -> bool:
    """Whether the code of the run had uncommitted changes."""
    return str(run.row["git_revision"]).endswith("+")


def _is_better(new: Run, old: Run) -> bool:
    """Whether `new` is better: a result than a failure, committed code than changed code, with an integer program than
    without."""
    if not new.done or not old.done:
        return new.done
    if is_dirty(old):
        return not is_dirty(new)
    return _agree(new, old) and old.row[INTEGER[0]] is None and new.row[INTEGER[0]] is not None


def _agree(run: Run, other: Run) -> bool:
    return kinship(run.row, other.row) is Kinship.EQUAL and not _differing(run, other, INTEGER)


def _differing(run: Run, other: Run, columns: Sequence[str]) -> list[str]:
    """The columns in which two rows differ; results of the integer program count only if both rows have them."""
    both = [name for name in columns if name in RESULT or None not in (run.row[name], other.row[name])]
    return [name for name in both if run.row[name] != other.row[name]]


def _require_agreement(run: Run, other: Run) -> None:
    """Raises ResultsError for two results of one trial in one environment."""
    kin = kinship(run.row, other.row)
    if (kin is Kinship.CONFLICT or kin is Kinship.EQUAL) and (found := _differing(run, other, (*RESULT, *INTEGER))):
        where = f"{other.row[found[0]]} in {other.folder}, {run.row[found[0]]} in {run.folder}"
        raise ResultsError(f"trial {run.row['run_id']} has conflicting results: {found[0]} is {where}")
