"""The order of columns, series and lines."""

from collections.abc import Callable

from dqrun.analysis.cells import Cell
from dqrun.analysis.order import natural, ordered_labels

WIDTHS = {"fp32": None, "int8": 8, "w4a8": 4, "int4": 4}


def cell_of(make_cell: Callable[..., Cell], quant: str, method: str, **fields: object) -> Cell:
    activations = 8 if quant == "w4a8" else WIDTHS[quant]
    return make_cell(0.5, quant=quant, method=method, weight_bits=WIDTHS[quant], activation_bits=activations, **fields)


def test_methods_of_one_width_stand_side_by_side(make_cell: Callable[..., Cell]) -> None:
    quants = [("int4", "naive"), ("int8", "naive"), ("w4a8", "dq"), ("fp32", "none"), ("int4", "dq"), ("int8", "DQ2")]
    cells = [cell_of(make_cell, quant, method) for quant, method in quants]
    expected = ["fp32", "int8 DQ2", "int8 naive", "w4a8 dq", "int4 dq", "int4 naive"]
    assert ordered_labels(cells, ["quant", "method"]) == expected
    assert ordered_labels(cells, ["method"]) == ["dq", "DQ2", "naive", ""]  # `none` is no word of a label


def test_numbers_are_ordered_by_value(make_cell: Callable[..., Cell]) -> None:
    cells = [make_cell(0.5, fold=fold) for fold in (10, 9, 1)]
    assert ordered_labels(cells, ["fold"]) == ["1", "9", "10"]
    assert sorted([["b", "10"], ["b", "9"], ["", "1"], ["A", "x"]], key=natural) == [
        ["", "1"], ["A", "x"], ["b", "9"], ["b", "10"],
    ]  # fmt: skip
