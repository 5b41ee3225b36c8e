"""Bytes that a program must move, counted by hand."""

from __future__ import annotations

import torch

from dqrun.bench.traffic import copy_bandwidth, moved_bytes
from dqrun.integer import Program
from dqrun.integer.operations import Aggregate, Linear, Quantize
from dqrun.integer.structure import build_graph
from dqrun.kernels.integer import CodeGrid, Epilogue, Weight

ONE = torch.ones(1, dtype=torch.float64)


def test_by_hand() -> None:
    grid = CodeGrid(4, 1.0, 0)
    operations = (
        Quantize("x", "states.0", 6, grid),
        Aggregate("states.0", "a", 6, 1.0, Epilogue(ONE, grid=grid)),
        Linear("a", "logits", Weight(torch.zeros(2, 6, dtype=torch.int8)), 8, Epilogue(ONE)),
    )
    program = Program(operations, False)
    graph = build_graph(torch.zeros(2, 10, dtype=torch.int64), 4, None, self_loops=False)
    of_integers, of_floats = 4 * 10 + 8 * 4, 8 * 10 + 8 * 4
    ints = 4 * 24 + 4 * 3 + 10 * 3 + 4 * 3 + 4 * 3 + 4 * 8 + 12
    floats = 4 * 24 + 4 * 24 + 10 * 24 + 4 * 24 + 4 * 24 + 4 * 8 + 4 * 12
    assert moved_bytes(program, graph, floats=False) == of_integers + ints
    assert moved_bytes(program, graph, floats=True) == of_floats + floats


def test_copy_bandwidth_is_positive() -> None:
    assert copy_bandwidth(repeats=1) > 0
