"""Lines by in-degree are means over the trials in common bins."""

from collections.abc import Callable

import pytest

from dqrun.report.cells import Cell

pytest.importorskip("matplotlib")

from dqrun.report.degrees import ByDegree
from dqrun.report.plots import degree


def test_common_bins_and_means(make_cell: Callable[..., Cell]) -> None:
    dq, fp32 = make_cell(0.5, 0.6), make_cell(0.9, quant="fp32", method="none")
    first = ByDegree([1, 3], [1, 4], [10, 5], [0.1, 0.3], [0.5, 0.7], [0.6, 0.8])
    second = ByDegree([1, 5], [1, 8], [10, 2], [0.3, 0.9], [0.7, 0.9], [0.6, 0.8])
    found = {id(dq): [first, second], id(fp32): [first]}
    figure = degree.draw([dq, fp32], found, ["dataset", "model"], ["quant", "method"], "test")
    errors, accuracy = figure.axes
    assert [label.get_text() for label in errors.get_xticklabels()] == ["1\n10", "3-4\n5", "5-8\n0"]
    (line,) = errors.get_lines()  # FP32 has no error to show
    assert list(line.get_ydata()) == pytest.approx([0.2, 0.3, 0.9])
    assert len(accuracy.get_lines()) == 4  # with and without quantisers
    assert accuracy.get_ylabel() == "Accuracy on test nodes (%)"


def test_graph_tasks_have_one_panel(make_cell: Callable[..., Cell]) -> None:
    dq = make_cell(0.5)
    only = ByDegree([0], [0], [3], [0.1], None, None)
    figure = degree.draw([dq], {id(dq): [only]}, ["dataset"], ["method"], "val")
    (panel,) = figure.axes
    assert panel.get_ylabel() == "Relative quantisation error"
    assert "validation nodes" in panel.get_xlabel()
