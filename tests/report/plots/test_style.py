"""Looks, labels and files of pictures."""

import importlib.util
from collections.abc import Callable

import pytest

from dqrun.errors import ConfigError
from dqrun.report.cells import Cell
from dqrun.report.plots import style

pytest.importorskip("matplotlib")


def cells_of(make_cell: Callable[..., Cell]) -> list[Cell]:
    bits = {"fp32": None, "int8": 8, "int4": 4}
    return [
        make_cell(0.5, quant=quant, method="none" if quant == "fp32" else method, weight_bits=bits[quant],
                  activation_bits=bits[quant])
        for quant in ("int4", "int8", "fp32")
        for method in ("naive", "dq")
    ]  # fmt: skip


def test_labels_go_from_wide_to_narrow(make_cell: Callable[..., Cell]) -> None:
    labels = style.ordered_labels(cells_of(make_cell), ["quant", "method"])
    assert labels == ["fp32", "int8 dq", "int8 naive", "int4 dq", "int4 naive"]


def test_each_label_has_a_look_of_its_own(make_cell: Callable[..., Cell]) -> None:
    looks = style.looks(cells_of(make_cell), ["quant", "method"])
    assert looks["fp32"].color == style.REFERENCE and len(set(looks.values())) == len(looks)
    many = [make_cell(0.5, method=f"m{i}") for i in range(20)]
    assert len(set(style.looks(many, ["method"]).values())) == 20


def test_configurations_with_one_label_are_numbered(make_cell: Callable[..., Cell]) -> None:
    cells = [make_cell(0.5, method="dq"), make_cell(0.6, method="dq"), make_cell(0.7, method="naive")]
    names = [name for _, name, _ in style.by_label(cells, ["method"], ["dq", "naive"])]
    assert names == ["dq (1)", "dq (2)", "naive"]


@pytest.mark.parametrize(("form", "start"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_the_same_picture_has_the_same_bytes(form: str, start: bytes) -> None:
    def picture() -> bytes:
        with style.styled():
            figure, ((panel,),) = style.panels(1, 1, 2, 2)
            panel.plot([0, 1], [0, 1], label="a")
            style.legend(figure, [panel])
            style.explain(figure, "a note that is too long for the width of so small a figure")
        return style.encode(figure, form)

    assert picture().startswith(start) and picture() == picture()


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(style, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'dqrun\[plots\]'"):
        style.require_matplotlib()
    assert importlib.util.find_spec("matplotlib") is not None
