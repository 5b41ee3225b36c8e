"""Bars have the heights of the means."""

from collections.abc import Callable

import pytest

from dqrun.report.cells import Cell

pytest.importorskip("matplotlib")

from dqrun.report.plots import bars


def test_heights_groups_and_limits(make_cell: Callable[..., Cell]) -> None:
    cells = [
        make_cell(0.5, 0.7, dataset="Cora", method="dq"),
        make_cell(0.4, dataset="Cora", method="naive"),
        make_cell(0.9, 0.99, 0.2, dataset="MUTAG", method="dq"),
        make_cell(0.5, 0.6, dataset="ZINC", metric="mae", method="dq"),
    ]
    figure = bars.draw(cells, ["dataset"], ["method"], "std")
    accuracy, error = figure.axes
    heights = sorted(round(patch.get_height(), 6) for patch in accuracy.patches)  # type: ignore[attr-defined]
    assert heights == [40.0, 60.0, 69.666667]
    assert [label.get_text() for label in accuracy.get_xticklabels()] == ["Cora", "MUTAG"]
    assert accuracy.get_ylim() == (0.0, 100.0) and accuracy.get_ylabel() == "Test accuracy (%)"
    assert error.get_ylabel() == "Test MAE (target's unit)" and error.get_ylim()[1] > 0.6
