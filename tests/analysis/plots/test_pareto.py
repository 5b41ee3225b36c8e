"""The Pareto front, and where points lie."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dqrun.analysis.cells import Cell

pytest.importorskip("matplotlib")

from matplotlib.patches import Patch

from dqrun.analysis.plots.pareto import COSTS, MARKERS, Cost, draw, pareto_front
from dqrun.analysis.plots.series import Series

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


def means_of(panel: Any) -> list[Any]:
    """The markers of the points: (x, y), colour, marker, size, whether it is a ring, and the order of drawing."""
    lines = [container.lines[0] for container in panel.containers]
    return [
        SimpleNamespace(
            at=(round(float(line.get_xdata()[0]), 6), round(float(line.get_ydata()[0]), 6)), size=line.get_markersize(),
            color=line.get_color(), marker=line.get_marker(), is_ring=line.get_markerfacecolor() == "none",
            order=line.get_zorder(),
        )
        for line in lines
    ]  # fmt: skip


def discs_of(panel: Any) -> list[list[float]]:
    (discs,) = [line for line in panel.lines if line.get_color() == "#cccccc"]
    return sorted(discs.get_xydata().round(6).tolist())


def test_points_lie_at_cost_and_mean(make_cell: Callable[..., Cell]) -> None:
    cells = [make_cell(0.5, 0.7, model="gcn"), make_cell(0.9, model="gin", quant="fp32", method="none")]
    figure = draw(cells, [4000.0, 32000.0], COSTS["bytes"], ["dataset", "model"], ["quant", "method"])
    (panel,) = figure.axes
    looks = Series(cells, ["dataset", "model"], ["quant", "method"]).looks
    found = {point.at: (point.color, point.marker) for point in means_of(panel)}
    assert found == {(4.0, 60.0): (looks["int4 dq"].color, "o"), (32.0, 90.0): (looks["fp32"].color, "^")}
    assert panel.get_xlabel() == "Model size (kB)" and panel.get_xscale() == "log"
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert sorted(names) == ["fp32", "gcn", "gin", "int4 dq"]


def test_colours_are_areas_and_models_are_hollow_markers(make_cell: Callable[..., Cell]) -> None:
    cells = [make_cell(0.5, model=model) for model in ("gat", "gcn", "gin")]
    figure = draw(cells, [1.0, 2.0, 3.0], COSTS["bits"], ["dataset", "model"], ["method"])
    handles: Any = figure.legends[0].legend_handles
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    kinds = dict(zip(names, handles, strict=True))
    assert isinstance(kinds["dq"], Patch)
    markers = {name: kinds[name].get_marker() for name in ("gat", "gcn", "gin")}
    assert markers == {"gat": "o", "gcn": "^", "gin": "D"} and "s" not in MARKERS
    assert all(kinds[name].get_fillstyle() == "none" for name in markers)
    assert {point.marker for point in means_of(figure.axes[0])} == set(markers.values())


def test_points_that_coincide_are_rings_around_the_one_on_the_front(make_cell: Callable[..., Cell]) -> None:
    methods = {"a": 0.6, "b": 0.6, "c": 0.599, "far": 0.3}
    cells = [make_cell(value, method=method) for method, value in methods.items()]
    figure = draw(cells, [8.0, 8.0, 8.0, 4.0], COSTS["bits"], ["dataset"], ["method"])
    panel = figure.axes[0]
    looks = Series(cells, ["dataset"], ["method"]).looks
    found = {point.color: point for point in means_of(panel)}
    a, b, c, far = (found[looks[name].color] for name in methods)
    assert [point.is_ring for point in (a, b, c, far)] == [True, False, True, False]
    assert sorted(point.size for point in (a, b, c)) == [6.0, 11.0, 16.0] and far.size == 6.0
    assert c.size == 16.0 and c.order < a.order < b.order  # what is not on the front is outside and below
    assert discs_of(panel) == [[4.0, 30.0], [8.0, 60.0]]


def test_a_single_point_has_a_front_within_the_panel(make_cell: Callable[..., Cell]) -> None:
    figure = draw([make_cell(0.5)], [8.0], COSTS["bits"], ["dataset"], ["method"])
    panel = figure.axes[0]
    assert discs_of(panel) == [[8.0, 50.0]]
    (steps,) = [line for line in panel.lines if line.get_color() == "#999999"]
    assert steps.get_xydata().tolist() == [[8.0, 50.0]]
    assert panel.get_xlim()[0] < 8 < panel.get_xlim()[1] and panel.get_ylim() == pytest.approx((47.5, 52.5))


def test_the_front_goes_up_in_steps(make_cell: Callable[..., Cell]) -> None:
    cells = [make_cell(value, method=f"m{i}") for i, value in enumerate((0.5, 0.4, 0.9))]
    (panel,) = draw(cells, [2.0, 4.0, 8.0], COSTS["bits"], ["dataset"], ["method"]).axes
    (steps,) = [line for line in panel.lines if line.get_color() == "#999999"]
    assert steps.get_drawstyle() == "steps-post" and steps.get_xydata().tolist() == [[2.0, 50.0], [8.0, 90.0]]
    assert panel.get_xlim() == pytest.approx((2 / 1.6, 8 * 1.6)) and panel.get_xticks().tolist() == [2, 4, 8, 16, 32]
    assert panel.get_ylim() == pytest.approx((40 - 0.12 * 50, 90 + 0.12 * 50))


def test_a_panel_for_each_dataset_and_metric(make_cell: Callable[..., Cell]) -> None:
    cells = [make_cell(0.5, dataset=name) for name in "abcd"]
    figure = draw(cells, [1.0, 2.0, 3.0, 4.0], Cost("x", 10.0), ["dataset"], ["method"])
    assert [panel.get_title(loc="left") for panel in figure.axes if panel.get_visible()] == list("abcd")
    assert len(figure.axes) == 6
    assert [means_of(panel)[0].at for panel in figure.axes[:4]] == [
        (10.0, 50.0),
        (20.0, 50.0),
        (30.0, 50.0),
        (40.0, 50.0),
    ]
