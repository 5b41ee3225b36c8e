"""Costs of programs, counted by hand for small ones."""

from collections.abc import Callable
from typing import Any

from dqrun.engine.lower import lower
from dqrun.engine.summary import costs

Make = Callable[..., Any]


def test_gcn_by_hand(trained: Make) -> None:
    program = lower(trained("gcn", weight_bits=4, activation_bits=8, layers=1, graph_level=False))
    quantize, linear, aggregate = costs(program, num_nodes=10, num_edges=20, num_graphs=1)
    assert (quantize.macs, quantize.output_bytes) == (0, 10 * 5)
    assert linear.macs == 10 * 5 * 3 and linear.weight_bytes == 3 * 3  # five inputs in three bytes
    assert linear.bit_operations == 150 * 4 * 8 and linear.mean_bit_operations == 150 * 6
    assert aggregate.macs == (20 + 10) * 3 and aggregate.output_bits == 32  # a self-loop per node


def test_gin_readout_and_head_by_hand(trained: Make) -> None:
    program = lower(trained("gin", layers=1, head=[], mlp_layers=1, weight_bits=8, activation_bits=4))
    quantize, aggregate, linear, readout, head = costs(program, num_nodes=10, num_edges=20, num_graphs=2)
    assert quantize.output_bytes == 10 * 3  # five codes in three bytes
    assert aggregate.macs == (20 + 10) * 5
    assert linear.macs == 10 * 5 * 8 and readout.macs == 10 * 8
    assert head.macs == 2 * 8 * 3 and head.output_bytes == 2 * 3 * 4


def test_text_names_totals_and_islands(trained: Make) -> None:
    program = lower(trained("gat", weight_bits=4))
    lines = program.summary(10, 20, 2).splitlines()
    assert lines[0] == "10 nodes, 20 edges, 2 graphs"
    assert sum(line.startswith("float island: ") for line in lines) == len(program.float_islands) == 3
    assert any(line.startswith("total") and str(program.nbytes) in line for line in lines)
