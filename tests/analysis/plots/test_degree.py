"""Lines by in-degree are means over the trials in common bins; bands stay where values can lie."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from dqrun.analysis.cells import Cell

pytest.importorskip("matplotlib")

from dqrun.analysis.degree_bins import NodeErrors
from dqrun.analysis.plots import degree
from dqrun.analysis.plots.series import Series

ROWS, COLUMNS = ["dataset", "model"], ["quant", "method"]


def trial(low: float, high: float, hits: tuple[int, int] | None, bare: tuple[int, int] = (10, 10)) -> NodeErrors:
    """10 nodes of degree 1 and 10 of degree 3 with these squared errors, so many of which are predicted right."""
    degrees, power = np.repeat([1, 3], 10), np.ones(20)
    squared = np.repeat([low**2, high**2], 10)
    shares = [
        None if counts is None else np.concatenate([np.arange(10) < n for n in counts]) for counts in (hits, bare)
    ]
    return NodeErrors(degrees, squared, power, shares[0], None if hits is None else shares[1])


def line_of(panel: Any, color: str, style: str) -> list[float]:
    (line,) = [line for line in panel.lines if (line.get_color(), line.get_linestyle()) == (color, style)]
    return list(line.get_ydata().round(6))


def test_common_bins_and_means(make_cell: Callable[..., Cell]) -> None:
    dq, fp32 = make_cell(0.5, 0.6), make_cell(0.9, quant="fp32", method="none")
    found = {id(dq): [trial(0.1, 0.3, (5, 9)), trial(0.3, 0.5, (7, 10), (8, 8))], id(fp32): [trial(0, 0, (9, 8))]}
    figure = degree.draw([dq, fp32], found, ROWS, COLUMNS, "test")
    errors, accuracy = figure.axes
    looks = Series([dq, fp32], ROWS, COLUMNS).looks
    assert [label.get_text() for label in errors.get_xticklabels()] == ["1\n10", "3-4\n10"]
    color, line = looks["int4 dq"].color, looks["int4 dq"].line
    assert line_of(errors, color, line) == [0.2, 0.4] and line_of(accuracy, color, line) == [60.0, 95.0]
    assert line_of(accuracy, color, ":") == [90.0, 90.0]
    assert len(errors.lines) == 1  # FP32 has no error to show
    assert line_of(accuracy, looks["fp32"].color, "-") == [90.0, 80.0]
    assert accuracy.get_ylabel() == "Accuracy on test nodes (%)"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["fp32", "int4 dq"]


def test_bands_stay_within_what_is_possible(make_cell: Callable[..., Cell]) -> None:
    dq = make_cell(0.5, 0.6)
    trials = [trial(0.0, 0.5, (10, 10)), trial(1.0, 0.5, (10, 2))]
    errors, accuracy = degree.draw([dq], {id(dq): trials}, ROWS, COLUMNS, "test").axes
    spans = [panel.collections[0].get_paths()[0].vertices[:, 1] for panel in (errors, accuracy)]
    assert spans[0].min() == 0.0 and spans[0].max() == pytest.approx(0.5 + np.std([0, 1], ddof=1))
    assert spans[1].max() == 100.0 and spans[1].min() == pytest.approx(60 - np.std([100, 20], ddof=1))


def test_graph_tasks_have_one_panel(make_cell: Callable[..., Cell]) -> None:
    dq = make_cell(0.5)
    figure = degree.draw([dq], {id(dq): [trial(0.1, 0.2, None)]}, ["dataset"], ["method"], "val")
    (panel,) = figure.axes
    assert panel.get_ylabel() == "Relative quantisation error" and not panel.collections  # one trial: no band
    assert "validation nodes" in panel.get_xlabel()


def test_datasets_of_both_kinds_side_by_side(make_cell: Callable[..., Cell]) -> None:
    node, graph = make_cell(0.5, dataset="a"), make_cell(0.5, dataset="b", quant="fp32", method="none")
    found = {id(node): [trial(0.1, 0.2, (1, 2))], id(graph): [trial(0, 0, None)]}
    figure = degree.draw([node, graph], found, ["dataset"], COLUMNS, "test")
    assert [panel.get_visible() for panel in figure.axes] == [True, True, True, False]
    assert [panel.get_title(loc="left") for panel in figure.axes[::2]] == ["a", "b"]
    assert len(figure.legends[0].get_texts()) == 2
