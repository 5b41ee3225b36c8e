"""The Pareto front, and where points lie."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dqrun.report.cells import Cell

pytest.importorskip("matplotlib")

from dqrun.report.plots.pareto import COSTS, Cost, draw, pareto_front

POINTS = st.lists(st.tuples(st.integers(0, 5).map(float), st.integers(0, 5).map(float)), min_size=1, max_size=12)


@given(POINTS, st.booleans())
def test_the_front_is_what_nothing_dominates(points: list[tuple[float, float]], higher: bool) -> None:
    sign = 1 if higher else -1

    def dominated(point: tuple[float, float]) -> bool:
        return any(other[0] <= point[0] and sign * other[1] >= sign * point[1] and other != point for other in points)

    assert pareto_front(points, higher) == sorted({point for point in points if not dominated(point)})


def test_a_field_that_is_not_positive_has_a_linear_axis(make_cell: Callable[..., Cell]) -> None:
    figure = draw([make_cell(0.5), make_cell(0.6, method="naive")], [0.0, 3.0], Cost("seed"), ["dataset"], ["method"])
    assert figure.axes[0].get_xscale() == "linear"


def test_points_lie_at_cost_and_mean(make_cell: Callable[..., Cell]) -> None:
    cells = [make_cell(0.5, 0.7, model="gcn"), make_cell(0.9, model="gin", quant="fp32", method="none")]
    figure = draw(cells, [4000.0, 32000.0], COSTS["bytes"], ["dataset", "model"], ["quant", "method"])
    (panel,) = figure.axes
    ends = {
        (round(float(line.get_xdata()[0])), round(float(line.get_ydata()[0]), 6))
        for line in panel.lines
        if len(line.get_xdata()) == 1
    }  # type: ignore[arg-type,index]
    assert ends >= {(4, 60.0), (32, 90.0)}
    assert panel.get_xlabel() == "Model size (kB)" and panel.get_xscale() == "log"
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["fp32", "int4 dq", "gcn", "gin"]
