"""Bars have the heights of the means, the colours of their series and the dots of their trials."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from dqrun.analysis.cells import Cell

pytest.importorskip("matplotlib")

from matplotlib.collections import PathCollection
from matplotlib.colors import to_hex

from dqrun.analysis.plots import bars
from dqrun.analysis.plots.series import Series


def cells_of(make_cell: Callable[..., Cell]) -> list[Cell]:
    return [
        make_cell(0.5, 0.7, dataset="Cora", method="dq"),
        make_cell(0.4, dataset="Cora", method="naive"),
        make_cell(0.9, 0.99, 0.2, dataset="MUTAG", method="dq"),
        make_cell(0.5, 0.6, dataset="ZINC", metric="mae", method="dq"),
    ]


def test_heights_groups_and_limits(make_cell: Callable[..., Cell]) -> None:
    figure, warnings = bars.draw(cells_of(make_cell), ["dataset"], ["method"], "std")
    accuracy, error = figure.axes
    assert figure.get_figwidth() == 4.5  # the least
    heights = [round(patch.get_height(), 6) for patch in accuracy.patches]  # type: ignore[attr-defined]
    assert heights == [60.0, 40.0, 69.666667] and warnings == []
    middles = [patch.get_x() + patch.get_width() / 2 for patch in accuracy.patches]  # type: ignore[attr-defined]
    assert middles == pytest.approx([0.0, 1.0, 2.7])
    assert [label.get_text() for label in accuracy.get_xticklabels()] == ["Cora", "MUTAG"]
    assert accuracy.get_xticks().tolist() == pytest.approx([0.5, 2.7])
    assert accuracy.get_ylim() == (0.0, 100.0) and accuracy.get_ylabel() == "Test accuracy (%)"
    assert error.get_ylabel() == "Test MAE (target's unit)"
    assert error.get_ylim()[1] == pytest.approx(1.06 * (0.55 + 0.070711), rel=1e-4)


@pytest.mark.parametrize("spread", ["std", "ci95"])
def test_intervals_and_dots(make_cell: Callable[..., Cell], spread: str) -> None:
    cells = cells_of(make_cell)
    figure, _ = bars.draw(cells, ["dataset"], ["method"], spread)
    panel: Any = figure.axes[0]
    half = 100 * getattr(cells[0], spread)
    (segment,) = panel.containers[1].errorbar[2][0].get_segments()
    assert segment[:, 1].tolist() == pytest.approx([max(0.0, 60.0 - half), 60.0 + half])
    assert segment[:, 0].tolist() == [0.0, 0.0]
    dots = [collection for collection in panel.collections if isinstance(collection, PathCollection)]
    heights = [np.asarray(each.get_offsets())[:, 1].round(6).tolist() for each in dots]
    assert heights == [[50.0, 70.0], [40.0], [90.0, 99.0, 20.0]]
    assert f"{'95 % interval' if spread == 'ci95' else 'standard deviation'}" in figure.get_supxlabel()


def test_each_bar_has_the_colour_of_its_series(make_cell: Callable[..., Cell]) -> None:
    cells = cells_of(make_cell)
    series = Series(cells, ["dataset"], ["method"])
    figure, _ = bars.draw(cells, ["dataset"], ["method"])
    colors = [to_hex(patch.get_facecolor()).upper() for patch in figure.axes[0].patches]
    dq, naive = series.looks["dq"].color, series.looks["naive"].color
    assert colors == [dq, naive, dq] and dq != naive
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    shown = [to_hex(handle.get_facecolor()).upper() for handle in figure.legends[0].legend_handles]  # type: ignore[union-attr]
    assert dict(zip(names, shown, strict=True)) == {"dq": dq, "naive": naive}


def test_a_metric_of_zero_has_limits(make_cell: Callable[..., Cell]) -> None:
    figure, _ = bars.draw([make_cell(0.0, 0.0)], ["dataset"], ["method"])
    assert figure.axes[0].get_ylim() == (0.0, 1.0)


def test_a_figure_is_as_wide_as_its_bars_and_groups(make_cell: Callable[..., Cell]) -> None:
    cells = [make_cell(0.5, dataset=f"d{i}", method=f"m{j}") for i in range(4) for j in range(5)]
    figure, _ = bars.draw(cells, ["dataset"], ["method"])
    assert figure.get_figwidth() == pytest.approx(20 * 0.28 + 4 * 0.5 + 1.0)
