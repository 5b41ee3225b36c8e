"""Rows that come into a study: what is added, what is replaced and what contradicts."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from dqrun.analysis.merge import Merge
from dqrun.analysis.rows import Run
from dqrun.errors import ResultsError

MakeRun = Callable[..., Run]
FAILED = {"status": "failed", "test_metric": None, "val_metric": None}
INTEGER = {"test_metric_integer": 0.6, "integer_agreement": 0.9}


@pytest.mark.parametrize(
    ("old", "new", "what", "kept"),
    [
        ({}, {"seed": 1}, "new", [{"seed": 0}, {"seed": 1}]),
        ({}, {"seconds": 9.0}, "there before", [{"seconds": 1.5}]),
        ({}, {"threads": 4}, "there before", [{"threads": 2}]),
        ({}, {"threads": 4, "test_metric": 0.6}, "new", [{"threads": 2}, {"threads": 4}]),
        (FAILED, {}, "replaced", [{"status": "done"}]),
        ({}, FAILED, "there before", [{"status": "done"}]),
        (FAILED, FAILED, "there before", [{"status": "failed"}]),
        ({}, INTEGER, "replaced", [INTEGER]),
        (INTEGER, {}, "there before", [INTEGER]),
        ({"git_revision": "a+"}, {"git_revision": "a"}, "replaced", [{"git_revision": "a"}]),
        ({"git_revision": "a+", "test_metric": 0.1}, {"git_revision": "b"}, "replaced", [{"git_revision": "b"}]),
    ],
)
def test_what_becomes_of_a_row(
    make_run: MakeRun, old: dict[str, object], new: dict[str, object], what: str, kept: list[dict[str, object]]
) -> None:
    merge = Merge([make_run(**old)])
    merge.add(make_run(**new))
    assert dict(merge.counts) == {what: 1}
    assert [{name: run.row[name] for name in each} for run, each in zip(merge.runs, kept, strict=True)] == kept


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ({}, {"test_metric": 0.71}, "test_metric is 0.7 in .*, 0.71 in "),
        ({}, {"best_epoch": 8}, "best_epoch is 7 in "),
        (INTEGER, {**INTEGER, "test_metric_integer": 0.5}, "test_metric_integer is 0.6 in "),
    ],
)
def test_one_environment_has_one_result(
    make_run: MakeRun, old: dict[str, object], new: dict[str, object], message: str
) -> None:
    merge = Merge([make_run(**old)])
    with pytest.raises(ResultsError, match=f"trial .* has conflicting results: {message}"):
        merge.add(make_run(**new))
    assert len(merge.runs) == 1
