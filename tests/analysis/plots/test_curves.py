"""Curves are means over the trials, up to the epoch that all reached."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dqrun.analysis.cells import Cell, make_cells
from dqrun.analysis.rows import load_runs
from dqrun.errors import ResultsError

pytest.importorskip("matplotlib")

from dqrun.analysis.plots import curves
from dqrun.analysis.plots.series import Series

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
    (band,) = figure.axes[0].collections
    heights = band.get_paths()[0].vertices[:, 1]  # type: ignore[union-attr,index]
    assert (heights.min(), heights.max()) == pytest.approx((2 - 2**0.5, 3 + 2**0.5))
    look = Series(cells_of(tmp_path), ["dataset", "model"], ["quant", "method"]).looks["int4 dq"]
    (line,) = figure.axes[0].get_lines()
    assert (line.get_color(), line.get_linestyle()) == (look.color, look.line)
    assert line.get_xdata().tolist() == [1.0, 2.0]  # type: ignore[union-attr]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["int4 dq"]


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


def test_long_and_many_histories_are_sampled(write_run: WriteRun, tmp_path: Path) -> None:
    for seed in range(curves.MOST_TRIALS + 2):
        (write_run(seed=seed) / "history.csv").write_text(history([float(i) for i in range(1200 if seed else 1300)]))
    (cell,) = cells_of(tmp_path)
    found = curves.read_histories(cell)
    assert found["epoch"].shape == (curves.MOST_TRIALS, curves.POINTS)
    epochs = found["epoch"][0]
    assert epochs[0] == 1 and epochs[-1] == 1200 and np.diff(epochs).min() >= 2 and np.diff(epochs).max() <= 3
    assert (found["train_loss"] == epochs - 1).all()
    assert curves.draw([cell], ["dataset"], [])[1] == []


@pytest.mark.parametrize(
    "text",
    ["", "epoch,train_loss\n1,2\n", HEADER + "1,2\n", HEADER + "1,2,3,x,5,6\n", HEADER, "\xff\x00", HEADER + '"'],
)
def test_damaged_histories(tmp_path: Path, text: str) -> None:
    (tmp_path / "history.csv").write_bytes(text.encode("latin-1"))
    assert curves.read_history(tmp_path / "history.csv") is None


def test_a_table_of_many_columns_is_read_at_once(tmp_path: Path) -> None:
    names = [f"c{i}" for i in range(20_000)]
    lines = [
        ",".join([*names, "epoch,train_loss,val_loss,val_metric"]),
        ",".join(["0"] * 20_000 + ["1", "2", "3", "4"]),
    ]
    (tmp_path / "history.csv").write_text("\n".join(lines))
    found = curves.read_history(tmp_path / "history.csv")
    assert found is not None and {name: values.tolist() for name, values in found.items()} == {
        "epoch": [1.0], "train_loss": [2.0], "val_loss": [3.0], "val_metric": [4.0],
    }  # fmt: skip


def test_of_many_trials_the_first_are_drawn_and_the_others_are_not_lacking(
    write_run: WriteRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(curves, "MOST_TRIALS", 2)
    for seed in range(3):
        (write_run(seed=seed) / "history.csv").write_text(history([float(seed)]))
    figure, warnings = curves.draw(cells_of(tmp_path), ["dataset"], [])
    assert warnings == [] and figure.axes[0].get_lines()[0].get_ydata().tolist() == [0.5]  # type: ignore[union-attr]
