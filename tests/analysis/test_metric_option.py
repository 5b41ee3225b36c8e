"""`dqrun compare --metric`: means of other columns than the test metric."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from dqrun.cli import main

Capture = pytest.CaptureFixture[str]
WriteRun = Callable[..., Path]


@pytest.fixture
def results(tmp_path: Path, write_run: WriteRun) -> str:
    both = {"test_metric_integer": 0.70, "integer_agreement": 0.98}
    write_run(seed=0, test_metric=0.70, seconds=30.0, peak_bytes=2**20, **both)
    write_run(seed=1, test_metric=0.80, seconds=34.0, peak_bytes=3 * 2**20, **both)
    write_run(seed=0, method="naive", test_metric=0.60, seconds=20.0, best_epoch=5)
    write_run(seed=1, method="naive", test_metric=0.60, seconds=20.0, best_epoch=6, **both)
    write_run(seed=2, method="naive", status="failed", test_metric=None, seconds=0.0)
    return str(tmp_path / "results")


def test_a_line_for_each_column_in_its_unit(results: str, capsys: Capture) -> None:
    shown = "test_metric,test_metric_integer,seconds,peak_bytes,best_epoch,integer_agreement"
    assert main(["compare", results, "--metric", shown, "method=dq", "--cols", "method"]) == 0
    _, *lines = capsys.readouterr().out.splitlines()
    expected = [
        "accuracy                        75.00 % +- 63.53 (2)",
        "accuracy (test_metric_integer)  70.00 % +- 0.00 (2)",
        "seconds                         32.0 s +- 25.4 (2)",
        "peak_bytes                      2.0 MiB +- 12.7 (2)",
        "best_epoch                      7.0 +- 0.0 (2)",
        "integer_agreement               98.00 % +- 0.00 (2)",
    ]
    assert lines == [f"threads  gin    {line}" for line in expected]


def test_trials_without_a_value_do_not_count(results: str, capsys: Capture) -> None:
    assert main(["compare", results, "--metric", "test_metric_integer"]) == 0
    captured = capsys.readouterr()
    assert "70.00 % (1, 1 failed)" in captured.out  # of the two finished naive trials one has a value
    assert "dqrun: threads gin int4 naive: 1 of 2 trials have test_metric_integer" in captured.err


def test_the_best_has_a_direction_or_there_is_none(results: str, capsys: Capture) -> None:
    assert main(["compare", results, "--metric", "seconds,best_epoch,val_metric", "--format", "markdown"]) == 0
    seconds, epochs, accuracy = capsys.readouterr().out.splitlines()[2:5]
    assert "**20.0 s" in seconds and seconds.count("**") == 2
    assert "**" not in epochs and "| best_epoch |" in epochs
    assert "| accuracy (val_metric) |" in accuracy


@pytest.mark.parametrize("form", ["table", "markdown", "latex"])
def test_the_table_names_the_column(results: str, capsys: Capture, form: str) -> None:
    assert main(["compare", results, "--metric", "val_metric", "--format", form]) == 0
    assert "accuracy (val" in capsys.readouterr().out


def test_csv_and_json_name_the_column(results: str, capsys: Capture) -> None:
    command = ["compare", results, "method=dq", "--metric", "test_metric,seconds", "--format"]
    assert main([*command, "csv"]) == 0
    lines = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert [(line["field"], line["values"], line["mean"]) for line in lines] == [
        ("test_metric", "2", "0.75"),
        ("seconds", "2", "32.0"),
    ]
    assert main([*command, "json"]) == 0
    cells = json.loads(capsys.readouterr().out)["cells"]
    assert [cell["field"] for cell in cells] == ["test_metric", "seconds"]
    assert [run["seconds"] for run in cells[1]["runs"]] == [30.0, 34.0]
    assert [cell["best"] for cell in cells] == [True, True]


def test_published_seconds(write_run: WriteRun, tmp_path: Path, capsys: Capture) -> None:
    write_run(dataset="REDDIT-BINARY", test_metric=0.8, seconds=1000.0)
    words = [str(tmp_path / "results"), "--published", "--metric"]
    assert main(["compare", *words, "test_metric,seconds"]) == 0
    out = capsys.readouterr().out
    assert "3906.4 s" in out and "-2906.4" in out and "86.20 % +- 3.20" in out
    assert main(["compare", *words, "test_metric"]) == 0
    assert " s " not in capsys.readouterr().out


def test_columns_of_a_line_stay_together(write_run: WriteRun, tmp_path: Path, capsys: Capture) -> None:
    for model in ("gin", "gcn"):
        write_run(model=model)
    words = ["compare", str(tmp_path / "results"), "--metric", "seconds,test_metric,best_epoch"]
    assert main(words) == 0
    lines = [line.split()[1:3] for line in capsys.readouterr().out.splitlines()[1:]]
    assert lines == [[model, what] for model in ("gcn", "gin") for what in ("seconds", "accuracy", "best_epoch")]
