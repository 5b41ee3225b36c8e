"""Programs in blocks of nodes give the bits of the whole graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from dqrun.errors import ConfigError, DataError
from dqrun.integer.lower import lower
from dqrun.integer.operations import Aggregate
from dqrun.integer.streaming import stream
from dqrun.kernels.sampling import Parts

Make = Callable[..., Any]


@pytest.mark.parametrize("block", [7, 64])
@pytest.mark.parametrize(("name", "bits"), [("gcn", 8), ("gcn", 4), ("gin", 8), ("sage", 4), ("gat", 8), ("gatv2", 8)])
def test_the_bits_are_those_of_the_whole(trained: Make, random_graph: Make, name: str, bits: int, block: int) -> None:
    program = lower(trained(name, activation_bits=bits, graph_level=False, residual=True, norm="batch"))
    x, edge_index, _ = random_graph(50, 300, 1, seed=4)
    graph, read = program.graph(edge_index, 50), []

    def features(nodes: torch.Tensor) -> torch.Tensor:
        read.append(len(nodes))
        return x[nodes]

    assert torch.equal(stream(program, features, graph, block), program.run(x, graph))
    assert len(read) == -(-50 // block)
    assert torch.equal(stream(program, x, graph, block), program.run(x, graph))


def test_edges_are_read_for_sums_over_them_alone(
    trained: Make, random_graph: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = lower(trained("gcn", graph_level=False))
    x, edge_index, _ = random_graph(50, 300, 1, seed=4)
    asked, block = [], Parts.block
    monkeypatch.setattr(Parts, "block", lambda *given: asked.append(given[1:]) or block(*given))
    stream(program, x, program.graph(edge_index, 50), 25)
    sums = sum(isinstance(operation, Aggregate) for operation in program.operations)
    assert asked == [(0, 25), (25, 50)] * sums and 0 < sums < len(program.operations)


def test_ranges_of_rows_go_with_their_rows(trained: Make, random_graph: Make) -> None:
    program = lower(trained("gcn", graph_level=False, rows=("integer", "real")))
    x, edge_index, _ = random_graph(50, 300, 1, seed=4)
    graph = program.graph(edge_index, 50)
    assert torch.equal(stream(program, x, graph, 9), program.run(x, graph))


@pytest.mark.parametrize("name", ["gcn", "gin", "sage", "gat"])
def test_fixed_point_logits_and_a_graph_without_nodes(trained: Make, random_graph: Make, name: str) -> None:
    program = lower(trained(name, graph_level=False))
    x, edge_index, _ = random_graph(50, 300, 1, seed=4)
    graph, fixed = program.graph(edge_index, 50), program.with_epilogue("fixed")
    logits = stream(fixed, x, graph, 9)
    assert logits.dtype == torch.float32 and torch.equal(logits, fixed.run(x, graph))
    nothing = program.graph(edge_index[:, :0], 0)
    assert stream(program, x[:0], nothing, 9).shape == program.run(x[:0], nothing).shape == (0, logits.size(1))


def test_what_cannot_be_streamed_is_refused(trained: Make, random_graph: Make) -> None:
    x, edge_index, _ = random_graph(50, 300, 1, seed=4)
    program = lower(trained("gcn", graph_level=False))
    graph = program.graph(edge_index, 50)
    wrong: tuple[Any, ...] = (0, 2.5, "7", None)
    for block in wrong:
        with pytest.raises(DataError, match="block must be an integer >= 1, got"):
            stream(program, x, graph, block)
    with pytest.raises(DataError, match="features must be a tensor or a function, got ndarray"):
        stream(program, x.numpy(), graph, 10)
    with pytest.raises(DataError, match=r"graph must be made by program\.graph\(edge_index, num_nodes\), got Tensor"):
        stream(program, x, edge_index, 10)
    with pytest.raises(DataError, match="x must be float32"):
        stream(program, x[:, :2], graph, 10)
    with pytest.raises(DataError, match="x must have a row for each of 50 nodes, got 49"):
        stream(program, x[:49], graph, 10)
    for rows in (0, 1, 9, 51):
        with pytest.raises(DataError, match=f"features must give a row for each of .* nodes, got {rows}"):
            stream(program, lambda nodes, rows=rows: torch.ones(rows, x.size(1)), graph, 10)
    gat = lower(trained("gat", graph_level=False))
    weighted = gat.graph(edge_index, 50, edge_weight=torch.ones(300))
    with pytest.raises(DataError, match="edge_weight must be None"):
        stream(gat, x, weighted, 10)
    with pytest.raises(ConfigError, match="a program of a graph task"):
        stream(lower(trained("gcn")), x, graph, 10)
