"""The shipped figures and how they are matched."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest

from dqrun.analysis.cells import Cell
from dqrun.analysis.published import load_published, matches


def test_every_figure_is_marked_and_plausible() -> None:
    entries = load_published()
    assert len(entries) > 100
    assert {entry.mark for entry in entries} == {"read", "recalled"}
    assert {entry.metric for entry in entries} == {"accuracy", "mae", "seconds"}
    for entry in entries:
        assert 0 < entry.mean < (1e6 if entry.metric == "seconds" else 1)
        assert math.isnan(entry.std) or 0 < entry.std < 0.2
        assert 1 <= entry.bits <= 32 and entry.source and entry.table and entry.label
        assert (entry.method == "none") == (entry.bits == 32)


def test_matched_by_dataset_model_width_method_and_metric(make_cell: Callable[..., Cell]) -> None:
    def found(**fields: object) -> list[float]:
        fields = {"dataset": "Cora", "model": "gcn", "method": "dq"} | fields
        return [match.published.mean for match in matches([make_cell(0.8, **fields)])]

    assert found() == pytest.approx([0.783])
    assert found(weight_bits=8, activation_bits=8) == pytest.approx([0.817])
    assert found(weight_bits=4, activation_bits=8) == []
    assert 0.812 in found(weight_bits=None, activation_bits=None, method="none", quant="fp32")
    assert found(method="dq_released") == found()
    assert found(dataset="CIFAR10") == pytest.approx([0.511])
    assert found(method="ptq") == found(dataset="mine") == found(metric="mae") == []


def test_seconds_stand_beside_seconds(make_cell: Callable[..., Cell]) -> None:
    cell = make_cell(0.8, dataset="REDDIT-BINARY", seconds=1000.0)
    assert all(match.published.metric == "accuracy" for match in matches([cell]))
    found = matches([replace(cell, field="seconds")])
    assert 3906.4 in [match.published.mean for match in found]
    assert all(match.difference == 1000.0 - match.published.mean for match in found)
    assert matches([replace(cell, field="val_metric")]) == []


def test_difference(make_cell: Callable[..., Cell]) -> None:
    cell = make_cell(0.79, 0.81, dataset="Cora", model="gcn")
    assert matches([cell])[0].difference == pytest.approx(0.8 - 0.783)
    assert matches([make_cell(0.8, dataset="Cora", model="gcn", status="failed")]) == []


@pytest.mark.parametrize(
    ("quant", "known"),
    [("int4", True), ("int4-channel", True), ("int4-row", False), ("int4-channel-row", False), ("int4-group32", False)],
)
def test_ranges_of_rows_are_no_published_method(make_cell: Callable[..., Cell], quant: str, known: bool) -> None:
    cell = make_cell(0.8, dataset="Cora", model="gcn", method="dq", quant=quant, weight_bits=4, activation_bits=4)
    assert bool(matches([cell])) is known
