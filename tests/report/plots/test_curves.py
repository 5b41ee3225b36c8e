"""Curves are means over the trials, up to the epoch that all reached."""

from collections.abc import Callable
from pathlib import Path

import pytest

from dqrun.errors import ResultsError
from dqrun.report.cells import Cell, make_cells
from dqrun.report.rows import load_runs

pytest.importorskip("matplotlib")

from dqrun.report.plots import curves

WriteRun = Callable[..., Path]
HEADER = "epoch,train_loss,val_loss,val_metric,lr,seconds\n"


def history(losses: list[float]) -> str:
    return HEADER + "".join(f"{i + 1},{loss},{loss + 1},0.5,0.01,1.0\n" for i, loss in enumerate(losses))


def cells_of(tmp_path: Path) -> list[Cell]:
    return make_cells(load_runs([tmp_path / "results"])[0], [])


def test_means_up_to_the_shortest(write_run: WriteRun, tmp_path: Path) -> None:
    (write_run(seed=0) / "history.csv").write_text(history([1.0, 2.0, 3.0]))
    (write_run(seed=1) / "history.csv").write_text(history([3.0, 4.0]))
    figure, warnings = curves.draw(cells_of(tmp_path), ["dataset", "model"], ["quant", "method"])
    assert warnings == [] and len(figure.axes) == 3
    train, val, metric = (panel.get_lines()[0].get_ydata().tolist() for panel in figure.axes)  # type: ignore[union-attr]
    assert (train, val, metric) == ([2.0, 3.0], [3.0, 4.0], [50.0, 50.0])
    assert figure.axes[0].get_title(loc="left") == "threads gin"
    assert figure.axes[2].get_ylabel() == "Validation accuracy (%)"


def test_trials_without_a_history_are_counted(write_run: WriteRun, tmp_path: Path) -> None:
    (write_run(seed=0) / "history.csv").write_text(history([1.0]))
    (write_run(seed=1) / "history.csv").write_text("epoch,loss\n1,x\n")
    write_run(seed=2)
    assert curves.draw(cells_of(tmp_path), ["dataset"], [])[1] == [
        "2 trials without a readable history.csv are not in the curves"
    ]


def test_no_history_at_all(write_run: WriteRun, tmp_path: Path) -> None:
    (write_run() / "history.csv").write_text(HEADER)
    with pytest.raises(ResultsError, match="no curves to draw"):
        curves.draw(cells_of(tmp_path), ["dataset"], [])


def test_outliers_are_cut_and_named(write_run: WriteRun, tmp_path: Path) -> None:
    losses = [1.0 + i / 100 for i in range(60)]
    losses[30] = 5000.0
    (write_run() / "history.csv").write_text(history(losses))
    panel = curves.draw(cells_of(tmp_path), ["dataset"], [])[0].axes[0]
    assert panel.get_ylim()[1] < 3 and [text.get_text() for text in panel.texts] == ["cut: values up to 5e+03"]
