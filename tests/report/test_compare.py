"""The comparison table against numbers computed by hand."""

from dataclasses import replace
from pathlib import Path

import pytest

from dqrun.cli import main
from dqrun.results import Results, Row, write_row


@pytest.fixture
def results(tmp_path: Path, row: Row) -> Path:
    rows = [
        replace(row, run_id="a", seed=0, test_metric=0.70),
        replace(row, run_id="b", seed=1, test_metric=0.80),
        replace(row, run_id="c", quant="fp32", method="none", cell_hash="f", test_metric=0.9),
        replace(row, run_id="d", metric="mae", dataset="zinc", cell_hash="z", test_metric=0.4312),
    ]
    folder = Results(tmp_path / "results")
    for each in rows:
        with folder.writing(each.run_id) as path:
            write_row(path, each)
    return folder.root


def test_means_with_intervals_by_field(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", str(results)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["dataset", "model", "metric", "int4", "dq", "fp32"]
    assert "75.00 % +- 63.53 (2)" in lines[1] and "90.00 % (1)" in lines[1]
    assert "0.4312 (1)" in lines[2]


def test_rows_and_columns_are_chosen_by_field(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.csv"
    assert main(["compare", str(results), "--rows", "quant", "--cols", "model", "-o", str(out)]) == 0
    assert capsys.readouterr().out.splitlines()[0].split() == ["quant", "metric", "gin"]
    assert out.read_text().startswith("dataset,task,model")


def test_unknown_field(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", str(results), "--rows", "dataet"]) == 2
    assert "--rows must name fields among" in capsys.readouterr().err


def test_no_results(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", str(tmp_path)]) == 2
    assert "it has no folder runs/" in capsys.readouterr().err
