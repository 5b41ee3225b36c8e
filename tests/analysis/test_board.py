"""The tables of `dqrun leaderboard`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from dqrun.analysis.board import Costing, boards, by_width, costs_sheet
from dqrun.analysis.cells import Cell
from dqrun.analysis.latency import Latency
from dqrun.analysis.leaderboard import main
from dqrun.errors import ConfigError
from dqrun.nn.costs import Costs

MakeCell = Callable[..., Cell]
FREE = Costing(lambda cell: None)


def sized(cell: Cell, **fields: object) -> Cell:
    """A cell whose rows have further values."""
    return replace(cell, runs=tuple(replace(run, row={**run.row, **fields}) for run in cell.runs))


def test_a_method_is_a_line_and_a_width_a_column(make_cell: MakeCell) -> None:
    cells = [
        make_cell(0.9, quant="fp32", method="none", weight_bits=None, activation_bits=None),
        make_cell(0.6, quant="int2", method="dq", weight_bits=2, activation_bits=2),
        make_cell(0.8, quant="int2-row", method="dq", weight_bits=2, activation_bits=2),
        make_cell(0.7, quant="int4", method="dq", weight_bits=4, activation_bits=4),
        make_cell(0.5, quant="w2a4", method="naive", weight_bits=2, activation_bits=4),
    ]
    sheet = by_width(cells)
    assert list(sheet.header) == ["model", "method", "ranges", "fp32", "int4", "w2a4", "int2"]
    assert [list(line[:3]) for line in sheet.lines] == [
        ["gin", "none", ""], ["gin", "dq", ""], ["gin", "dq", "row"], ["gin", "naive", ""],
    ]  # fmt: skip
    assert sheet.lines[1][3:] == ["", "70.00 % (1)", "", "60.00 % (1)"]
    assert sheet.bold == {(0, 3), (1, 4), (3, 5), (2, 6)}


def test_validation_chooses_among_settings_of_one_method(make_cell: MakeCell) -> None:
    better_on_test = make_cell(0.9, cell_hash="a", val_metric=0.6)
    chosen = make_cell(0.8, cell_hash="b", val_metric=0.7)
    for cells in ([better_on_test, chosen], [chosen, better_on_test]):
        sheet = by_width(cells)
        assert [line[3] for line in sheet.lines] == ["80.00 % (1)"] and "validation" in sheet.notes[0]
    error = {"metric": "mae", "higher_is_better": False}
    low, high = (make_cell(0.5, cell_hash=str(value), val_metric=value, **error) for value in (0.2, 0.3))
    assert by_width([high, low]).lines[0][3] == by_width([low]).lines[0][3]
    assert by_width([chosen]).notes == []


def test_costs_stand_beside_the_accuracy(make_cell: MakeCell) -> None:
    fp32 = make_cell(
        0.9, 0.8, quant="fp32", method="none", weight_bits=None, activation_bits=None, seconds_per_epoch=0.5
    )
    naive = make_cell(0.6, 0.7, quant="int4", method="naive", seconds_per_epoch=1.0, test_metric_integer=0.55)
    dq = make_cell(0.8, 0.8, quant="int4", method="dq", seconds_per_epoch=0.75)
    counted = Costs(
        model_bytes=2048.0, mean_bits=5.0, average_bits=4.5, macs=1.0, bit_operations=3e6, bit_operations_product=1.0
    )
    latency = [Latency("threads", "gin", "int4", 0.002)]
    sheet = costs_sheet([naive, fp32, dq], Costing(lambda cell: counted, latency))
    table = [dict(zip(sheet.header, line, strict=True)) for line in sheet.lines]
    assert [line["method"] for line in table] == ["", "dq", "naive"]  # wide before narrow, then the better
    assert [line["to FP32"] for line in table] == ["", "-5.00", "-20.00"]
    assert [line["x FP32"] for line in table] == ["", "1.50", "2.00"]
    assert [line["integer program"] for line in table] == ["", "", "55.00 %"]
    assert {(line["act. bits"], line["KiB"], line["bit-ops"]) for line in table} == {("4.50", "2.0", "3.0")}
    assert [line["ms"] for line in table] == ["", "2.00", "2.00"]
    assert "settings" not in sheet.header and "published" not in sheet.header


def test_costs_that_rows_record_are_not_counted_again(make_cell: MakeCell) -> None:
    own = {"average_bits": 1.7, "model_bytes": 1024.0, "bit_operations": 5e5, "search_epochs": 50.0}
    sheet = costs_sheet([make_cell(0.5, 0.5, **own)], FREE)
    line = dict(zip(sheet.header, sheet.lines[0], strict=True))
    assert [line[name] for name in ("act. bits", "KiB", "bit-ops", "search")] == ["1.70", "1.0", "0.5", "50"]


def test_times_of_other_machines_are_not_divided(make_cell: MakeCell) -> None:
    fp32 = make_cell(0.9, quant="fp32", method="none", seconds_per_epoch=0.5)
    dq = sized(make_cell(0.8, quant="int4", method="dq", seconds_per_epoch=1.0), processor="another")
    assert "x FP32" not in costs_sheet([fp32, dq], FREE).header


def test_an_error_is_best_where_it_is_least(make_cell: MakeCell) -> None:
    low, high = (
        make_cell(value, method=name, metric="mae", higher_is_better=False) for name, value in (("a", 0.2), ("b", 0.3))
    )
    assert [line[1] for line in costs_sheet([high, low], FREE).lines] == ["a", "b"]
    assert by_width([high, low]).bold == {(0, 3)}


def test_each_dataset_has_its_tables(make_cell: MakeCell) -> None:
    cells = [make_cell(0.5, dataset=name, model=model) for name, model in (("A", "gin"), ("A", "gcn"), ("B", "gin"))]
    assert [sheet.title for sheet in boards(cells, FREE)] == [
        "A: accuracy by width", "A gcn: accuracy and costs", "A gin: accuracy and costs",
        "B: accuracy by width", "B gin: accuracy and costs",
    ]  # fmt: skip


def test_leaderboard_of_trained_networks(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(trained), "dataset=threads"]) == 0
    printed = capsys.readouterr()
    fp32, int4 = next(text for text in printed.out.split("\n\n") if "and costs" in text).splitlines()[2:4]
    assert "  32.00  " in fp32 and "  7.81  " in int4 and printed.err == ""
    assert main([str(trained), "--no-costs", "-o", str(tmp_path / "methods.md")]) == 0
    text = (tmp_path / "methods.md").read_text()
    assert "| gcn | dq |" in text
    with pytest.raises(ConfigError, match=r"-o must end in \.txt, \.md, \.tex, or --format .*got 'a\.csv'"):
        main([str(trained), "-o", "a.csv"])
