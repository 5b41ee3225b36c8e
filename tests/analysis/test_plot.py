"""`dqrun plot` from the command line."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dqrun.analysis.cells import Cell
from dqrun.analysis.degree_bins import NodeErrors
from dqrun.analysis.degrees import node_errors
from dqrun.analysis.networks import Datasets
from dqrun.analysis.plot import shared_labels
from dqrun.analysis.rows import Run, load_runs
from dqrun.analysis.select import Filter, choose
from dqrun.cli import main

pytest.importorskip("matplotlib")

from dqrun.analysis.plots.style import encode

Capture = pytest.CaptureFixture[str]
STARTS = {".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The figures that are written, in their order."""
    drawn: list[Any] = []

    def keep(figure: Any, form: str) -> bytes:
        drawn.append(figure)
        return encode(figure, form)

    monkeypatch.setattr("dqrun.analysis.plot.encode", keep)
    return drawn


def means_of(panel: Any) -> list[tuple[float, float]]:
    return sorted(tuple(container.lines[0].get_xydata()[0].tolist()) for container in panel.containers)


@pytest.mark.parametrize("suffix", [".svg", ".png", ".pdf"])
def test_curves_are_the_means_of_the_histories(
    trained: Path, tmp_path: Path, capsys: Capture, figures: list[Any], suffix: str
) -> None:
    out = tmp_path / f"a{suffix}"
    assert main(["plot", "curves", str(trained), "dataset=network", "quant=int4", "-o", str(out)]) == 0
    assert out.read_bytes().startswith(STARTS[suffix]) and capsys.readouterr().out == f"{out}\n"
    runs = choose(load_runs([trained])[0], [Filter.parse("dataset=network"), Filter.parse("quant=int4")])
    histories = [pd.read_csv(run.folder / "history.csv") for run in runs]
    for panel, name in zip(figures[0].axes, ("train_loss", "val_loss", "val_metric"), strict=True):
        (line,) = panel.lines
        expected = np.mean([history[name] for history in histories], axis=0) * (100 if name == "val_metric" else 1)
        assert line.get_ydata() == pytest.approx(expected) and line.get_xdata().tolist() == [1, 2, 3, 4]


def test_bars_have_the_means_of_the_rows(trained: Path, tmp_path: Path, figures: list[Any]) -> None:
    assert main(["plot", "bars", str(trained), "-o", str(tmp_path / "a.svg")]) == 0
    (panel,) = figures[0].axes
    frame = pd.DataFrame([run.row for run in load_runs([trained])[0]])
    means = frame.groupby(["dataset", "model", "weight_bits"], dropna=False)["test_metric"].mean()
    assert sorted(patch.get_height() for patch in panel.patches) == pytest.approx(sorted(100 * means))
    assert [label.get_text() for label in panel.get_xticklabels()] == ["network\ngcn", "threads\ngin"]


@pytest.mark.parametrize(
    ("x", "cost", "factor"),
    [
        ("bits", "mean_bits", 1.0),
        ("bytes", "model_bytes", 1e-3),
        ("bitops", "bit_operations", 1e-6),
        ("bitops_product", "bit_operations_product", 1e-6),
    ],
)
def test_points_have_the_costs_of_their_networks(
    trained: Path, tmp_path: Path, figures: list[Any], x: str, cost: str, factor: float
) -> None:
    words = ["plot", "pareto", str(trained), "dataset=network", "--x", x, "-o", str(tmp_path / "a.svg")]
    assert main(words) == 0
    datasets, runs = Datasets(), choose(load_runs([trained])[0], [Filter.parse("dataset=network")])
    expected = set()
    for quant in ("fp32", "int4"):
        same = [run for run in runs if run.row["quant"] == quant]
        costs = getattr(datasets.costs(same[0]), cost) * factor
        expected.add((costs, 100 * np.mean([run.row["test_metric"] for run in same])))
    assert np.array(means_of(figures[0].axes[0])) == pytest.approx(np.array(sorted(expected)))


def test_costs_may_be_fields_of_the_rows_in_their_unit(trained: Path, tmp_path: Path, figures: list[Any]) -> None:
    words = ["plot", "pareto", str(trained), "dataset=threads", "--x", "seconds", "-o", str(tmp_path / "a.svg")]
    assert main(words) == 0
    panel = figures[0].axes[0]
    frame = pd.DataFrame([run.row for run in load_runs([trained])[0] if run.row["dataset"] == "threads"])
    means = frame.groupby("quant")["seconds"].mean()
    assert [x for x, _ in means_of(panel)] == pytest.approx(sorted(means)) and panel.get_xlabel() == "seconds (s)"


def test_errors_by_degree_are_those_of_the_networks(trained: Path, tmp_path: Path, figures: list[Any]) -> None:
    words = ["plot", "degree", str(trained), "dataset=network", "--part", "train", "-o", str(tmp_path / "a.svg")]
    assert main(words) == 0
    errors, accuracy = figures[0].axes
    runs = [run for run in load_runs([trained])[0] if (run.row["dataset"], run.row["quant"]) == ("network", "int4")]
    found = [node_errors(run, Datasets(), "train") for run in runs]
    (line,) = errors.lines
    assert line.get_ydata() == pytest.approx([np.mean([(e.squared.mean() / e.power.mean()) ** 0.5 for e in found])])
    assert errors.get_xticklabels()[0].get_text() == "1-64\n10"  # ten nodes are one bin
    assert "training nodes" in accuracy.get_ylabel()


def test_so_many_networks_are_looked_into(
    trained: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[Run] = []

    def look(run: Run, datasets: Datasets, part: str) -> NodeErrors:
        looked.append(run)
        return NodeErrors(np.arange(40) % 2, np.ones(40), np.ones(40), None, None)

    monkeypatch.setattr("dqrun.analysis.degrees.node_errors", look)
    monkeypatch.setattr("dqrun.analysis.plot.NETWORKS", 5)
    assert main(["plot", "degree", str(trained), "-o", str(tmp_path / "a.svg")]) == 0
    assert len(looked) == 4  # four configurations of two trials
    assert "of each configuration 1 trials at most are in the picture" in capsys.readouterr().err


def test_latency(trained: Path, tmp_path: Path, capsys: Capture) -> None:
    bench = tmp_path / "bench.json"
    entry = {"variant": "int4", "model": "gcn", "dataset": "network", "run_seconds": 0.01}
    bench.write_text(json.dumps({"results": [entry]}))
    words = ["plot", "pareto", str(trained), "--x", "latency", "-o", str(tmp_path / "a.png")]
    assert main([*words, "--latency", str(bench)]) == 0
    assert "3 of 4 configurations have no latency and are not in the picture" in capsys.readouterr().err
    assert main(words) == 2
    assert "--x latency and --latency FILE go together" in capsys.readouterr().err


def test_the_default_name_is_the_kind(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["plot", "bars", str(trained)]) == 0
    assert (tmp_path / "bars.png").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["pie"], "dqrun plot must be given one of curves, bars, pareto, degree, got 'pie'"),
        (["bars", "-o", "a.jpg"], "-o must end in .png, .svg, .pdf, got 'a.jpg'"),
        (["pareto", "--x", "model"], "--x must be one of bits, bytes, bitops, bitops_product, latency or a field"),
        (["pareto", "--x", "colour"], "--x must name fields among"),
        (["curves"], "no curves to draw"),
        (["degree"], "no network of the chosen trials can be looked into"),
        (["pareto"], "--x bits is known for none of the chosen trials"),
    ],
)
def test_mistakes_and_what_is_missing(
    write_run: Callable[..., Path], tmp_path: Path, capsys: Capture, words: list[str], message: str
) -> None:
    write_run()
    assert main(["plot", *words, str(tmp_path / "results")]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_nothing_finished(write_run: Callable[..., Path], tmp_path: Path, capsys: Capture) -> None:
    write_run(status="failed", test_metric=None)
    assert main(["plot", "bars", str(tmp_path / "results")]) == 2
    assert "nothing to draw" in capsys.readouterr().err


def test_without_matplotlib(trained: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dqrun.analysis.plots.style.find_spec", lambda name: None)
    for verb in (["plot", "bars"], ["report"]):
        assert main([*verb, str(trained)]) == 2
        assert capsys.readouterr().err == (
            "dqrun: pictures need matplotlib, the extra 'plots': pip install 'dqrun[plots]'\n"
        )


def test_configurations_that_share_a_label(make_cell: Callable[..., Cell]) -> None:
    cells = [make_cell(0.5, cell_hash=name) for name in "ab"]
    (text,) = shared_labels(cells, ["dataset", "model"], ["quant", "method"])
    assert text.startswith("threads gin int4 dq: 2 configurations")
    assert shared_labels(cells[:1], ["dataset"], ["quant"]) == []
