"""Results that are no better than a constant prediction."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from dqrun.analysis.baselines import no_better, not_beaten
from dqrun.analysis.cells import Cell


@pytest.mark.parametrize(
    ("test", "baseline", "higher_is_better", "told"),
    [
        (0.6, 0.5, True, False),
        (0.5, 0.5, True, True),
        (0.4, 0.5, True, True),
        (0.4, 0.5, False, False),
        (0.6, 0.5, False, True),
        (math.nan, 0.5, True, False),
        (0.4, math.nan, True, False),
    ],
)
def test_a_line_where_the_baseline_is_known_and_not_beaten(
    test: float, baseline: float, higher_is_better: bool, told: bool
) -> None:
    assert bool(no_better("a", "accuracy", test, baseline, higher_is_better)) is told


def test_the_line_names_both_figures() -> None:
    assert no_better("a", "accuracy", 0.4, 0.5, True) == (
        "a: no better than the majority class (accuracy 40.00 % against 50.00 %)"
    )
    assert "than chance (roc_auc" in no_better("a", "roc_auc", 0.4, 0.5, True)


def test_a_cell_is_judged_by_the_mean_baseline_of_its_trials(make_cell: Callable[..., Cell]) -> None:
    assert not_beaten([make_cell(0.6, 0.6, 0.6, baseline=0.5)]) == []
    (line,) = not_beaten([make_cell(0.4, 0.4, baseline=0.5), make_cell(0.1, baseline=None)])
    assert line.endswith("(accuracy 40.00 % against 50.00 %)")


def test_of_many_cells_a_few_are_named(make_cell: Callable[..., Cell]) -> None:
    cells = [make_cell(0.1, baseline=0.5) for _ in range(6)]
    assert len(not_beaten(cells)) == 6  # a sixth line says as much as a count
    *named, last = not_beaten([*cells, *cells])
    assert len(named) == 5 and last == "and 7 more are no better"
