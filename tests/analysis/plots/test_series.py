"""Each series has a name and a look of its own, the same in every picture."""

from collections.abc import Callable
from itertools import combinations

import pytest

from dqrun.analysis.cells import Cell
from dqrun.analysis.plots.series import CELLS, LABELS, PANELS, REFERENCE, Series, mixed, selected

WIDTHS = {"fp32": None, "int8": 8, "int6": 6, "int5": 5, "int4": 4, "int3": 3, "int2": 2}
COLUMNS = ["quant", "method"]
MakeCell = Callable[..., Cell]


def cell_of(make_cell: MakeCell, quant: str, method: str, **fields: object) -> Cell:
    bits = WIDTHS[quant]
    return make_cell(0.5, quant=quant, method=method, weight_bits=bits, activation_bits=bits, **fields)


def readme(make_cell: MakeCell) -> list[Cell]:
    quantised = [(quant, method) for quant in ("int8", "int4") for method in ("ptq", "naive", "noisy", "dq")]
    return [cell_of(make_cell, quant, method) for quant, method in [("fp32", "none"), *quantised]]


def test_four_methods_of_two_widths_have_nine_colours(make_cell: MakeCell) -> None:
    series = Series(readme(make_cell), ["dataset", "model"], COLUMNS)
    assert list(series.looks)[:3] == ["fp32", "int8 dq", "int8 naive"] and series.looks["fp32"].color == REFERENCE
    assert len({look.color for look in series.looks.values()}) == 9
    for method in ("dq", "naive", "noisy", "ptq"):  # a method has its marker, a width its line
        assert series.looks[f"int8 {method}"].marker == series.looks[f"int4 {method}"].marker
    assert {series.looks[f"int4 {method}"].line for method in ("dq", "naive", "noisy", "ptq")} == {"--"}


def test_a_series_looks_the_same_whatever_else_is_there(make_cell: MakeCell) -> None:
    cells = readme(make_cell)
    everything = Series(cells, ["dataset"], COLUMNS).looks
    for pair in combinations(cells, 2):
        for name, look in Series(pair, ["dataset"], COLUMNS).looks.items():
            assert everything[name] == look


def test_no_two_series_look_alike(make_cell: MakeCell) -> None:
    widths = [quant for quant in WIDTHS if quant != "fp32"]
    cells = [cell_of(make_cell, quant, method) for quant in widths for method in ("dq", "naive", "own", "other")]
    assert len({look.color for look in Series(cells, ["dataset"], COLUMNS).looks.values()}) == 24
    many = [make_cell(0.5, method=f"m{i:03}") for i in range(300)]
    looks = list(Series(many, ["dataset"], ["method"]).looks.values())
    assert len(set(looks)) == 300 and len({look.color for look in looks[:LABELS]}) == LABELS


def test_configurations_of_one_label_are_numbered_and_look_different(make_cell: MakeCell) -> None:
    cells = [make_cell(0.5 + i / 10, method="dq") for i in range(2)] + [make_cell(0.7, method="naive")]
    elsewhere = make_cell(0.9, method="dq", dataset="MUTAG")
    series = Series([*cells, elsewhere], ["dataset"], ["method"])
    assert [series.name(cell) for cell in [*cells, elsewhere]] == ["dq (1)", "dq (2)", "naive", "dq (1)"]
    assert series.look(cells[0]) != series.look(cells[1]) and series.look(cells[0]) == series.look(elsewhere)
    assert series.sorted([cells[2], cells[1], cells[0]]) == cells
    assert list(Series(cells[:1], ["dataset"], ["fold"]).looks) == ["all"]


def test_names_are_only_shown(make_cell: MakeCell) -> None:
    assert list(Series([make_cell(0.5, method="_a$x$\x1b")], [], ["method"]).looks) == [r"_a$x$\x1b"]


def test_a_picture_holds_so_many_and_says_it(make_cell: MakeCell) -> None:
    cells = [make_cell(0.5, dataset=f"d{k}", method=f"m{i}") for k in range(15) for i in range(40)]
    shown, (warning,) = selected(cells, ["dataset"], ["method"])
    assert len({cell.text("dataset") for cell in shown}) == PANELS == 12
    assert len(shown) == 12 * (CELLS // PANELS)
    assert {cell.text("dataset") for cell in shown} == {f"d{k}" for k in [0, 1, 10, 11, 12, 13, 14, 2, 3, 4, 5, 6]}
    assert warning.startswith(f"{len(shown)} of 600 configurations are in the picture")
    one, _ = selected(cells[:40], ["dataset"], ["method"])
    assert len(one) == LABELS
    assert selected(cells[:10], ["dataset"], ["method"]) == (cells[:10], [])
    assert len(selected(cells[:40], ["dataset"], ["method"], 7)[0]) == 7
    assert len(selected(cells, ["dataset"], ["method"], 7)[0]) == 12  # each panel has one


@pytest.mark.parametrize(
    ("amount", "color"), [(0.0, "#0080FF"), (1.0, "#FFFFFF"), (-1.0, "#000000"), (0.5, "#80C0FF"), (-0.5, "#004080")]
)
def test_shades(amount: float, color: str) -> None:
    assert mixed("#0080FF", amount) == color
