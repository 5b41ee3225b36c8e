"""Costs of programs, counted by hand for small ones."""

from collections.abc import Callable
from typing import Any

import pytest

from dqrun.integer.lower import lower
from dqrun.integer.summary import costs
from dqrun.nn.costs import Size
from dqrun.nn.costs import costs as network_costs

Make = Callable[..., Any]


def test_gcn_by_hand(trained: Make) -> None:
    program = lower(trained("gcn", weight_bits=4, activation_bits=8, layers=1, graph_level=False))
    quantize, linear, aggregate = costs(program, num_nodes=10, num_edges=20, num_graphs=1)
    assert (quantize.work.macs, quantize.output_bytes) == (0, 10 * 5)
    assert linear.work.macs == 10 * 5 * 3 and linear.weight_bytes == 3 * 3  # five inputs in three bytes
    assert linear.work.bit_operations_product == 150 * 4 * 8 and linear.work.bit_operations == 150 * 6
    assert aggregate.work.macs == (20 + 10) * 3 and aggregate.output_bits == 32  # a self-loop per node
    assert aggregate.work.bit_operations == aggregate.work.bit_operations_product == 90 * 8  # additions alone


def test_gin_readout_and_head_by_hand(trained: Make) -> None:
    program = lower(trained("gin", layers=1, head=[], mlp_layers=1, weight_bits=8, activation_bits=4))
    quantize, aggregate, linear, readout, head = costs(program, num_nodes=10, num_edges=20, num_graphs=2)
    assert quantize.output_bytes == 10 * 3  # five codes in three bytes
    assert aggregate.work.macs == (20 + 10) * 5
    assert linear.work.macs == 10 * 5 * 8 and readout.work.macs == 10 * 8
    assert head.work.macs == 2 * 8 * 3 and head.output_bytes == 2 * 3 * 4


def test_text_names_totals_and_islands(trained: Make) -> None:
    program = lower(trained("gat", weight_bits=4))
    lines = program.summary(10, 20, 2).splitlines()
    assert lines[0] == "10 nodes, 20 edges, 2 graphs"
    assert [line.removeprefix("in floats: ") for line in lines if line.startswith("in floats: ")] == program.in_floats
    assert any(line.startswith("total") and str(program.nbytes) in line for line in lines)


FLOATS = {
    "gcn": [
        "rounding of features (float32): states.0",
        "factor d^-1/2 of a row (root in float32, product in float64): layers.0.features, states.1",
        "requantisation (float64): layers.0.features, states.1, head.0.input",
        "division of a sum by the number of nodes (float64): head.0.input",
        "logits (float64, rounded to float32): logits",
    ],
    "gat": [
        "rounding of features (float32): states.0",
        "requantisation (float64): layers.0.features, states.1, head.0.input",
        "attention logits, softmax and weighted sum (float32): states.1",
        "division of a sum by the number of nodes (float64): head.0.input",
        "logits (float64, rounded to float32): logits",
    ],
    "gin": [
        "1 + eps times a node's own codes, added to its sum (float64): layers.0.mlp.0.input",
        "requantisation (float64): layers.0.mlp.0.input, layers.0.mlp.1.input, states.1, head.0.input",
        "logits (float64, rounded to float32): logits",
    ],
}


@pytest.mark.parametrize("name", FLOATS)
def test_all_that_is_not_integer_is_listed(trained: Make, name: str) -> None:
    options = {"categories": 4, "readout": "sum"} if name == "gin" else {}
    assert lower(trained(name, layers=1, head=[], **options)).in_floats == FLOATS[name]


@pytest.mark.parametrize("name", ["gcn", "gat", "gin", "sage", "gatv2"])
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("graph_level", [True, False])
def test_a_network_and_its_program_cost_the_same(trained: Make, name: str, bits: int, graph_level: bool) -> None:
    """Counted from the layers and from the operations."""
    options = {"encoder": "linear", "norm": "batch"} if bits == 4 else {"residual": True}
    model = trained(name, bits, 8, graph_level=graph_level, **options)
    program = lower(model)
    listed = [cost.work for cost in costs(program, 10, 20, 2)]
    counted = network_costs(model, Size(10, 20 + 10 * program.self_loops, 2))
    assert counted.macs == sum(total.macs for total in listed)
    assert counted.bit_operations == sum(total.bit_operations for total in listed)
    assert counted.bit_operations_product == sum(total.bit_operations_product for total in listed)


def test_numbers_of_rows_are_counted(trained: Callable[..., Any]) -> None:
    """A row has 8 bytes more; its scale is a factor of 32 bits in a sum of rows, or a shift."""

    def found(*rows: str) -> list[Any]:
        return costs(lower(trained("gin", 8, 8, rows=rows, layers=1)), 10, 30, 2)

    one, many, shifted = found(), found("integer", "real"), found("integer", "power_of_two")
    assert [b.output_bytes - a.output_bytes for a, b in zip(one, many, strict=True)] == [80, 80, 80, 80, 16, 16, 0]
    sums = [i for i, cost in enumerate(one) if cost.kind in ("aggregate", "readout")]
    for i, (a, b, c) in enumerate(zip(one, many, shifted, strict=True)):
        assert a.work == c.work
        assert b.work.bit_operations_product == a.work.bit_operations_product * (32 if i in sums else 1)
    assert len(sums) == 2
