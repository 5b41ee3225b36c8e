"""Running programs: PyG's tensors, limits, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from dqrun.engine.lower import lower
from dqrun.errors import DataError
from dqrun.kernels.integer import Codes

Make = Callable[..., Any]


@pytest.mark.parametrize("name", ["gcn", "gat", "gin"])
@pytest.mark.parametrize("graph_level", [True, False])
def test_logits_of_pyg_tensors(
    trained: Make, random_graph: Make, graph_for: Make, name: str, graph_level: bool
) -> None:
    model = trained(name, graph_level=graph_level)
    x, edge_index, batch = random_graph(50, 150, 4, seed=3)
    program = lower(model)
    logits = program(x, edge_index, batch)
    assert logits.shape == ((4, 3) if graph_level else (50, 3)) and logits.dtype == torch.float32
    expected = model(x, graph_for(model, edge_index, batch)).detach()
    torch.testing.assert_close(logits, expected, atol=0.05, rtol=0.05)
    assert torch.equal(logits, program.run(x, program.graph(edge_index, 50, batch)))


def test_the_order_of_edges_does_not_matter(trained: Make, random_graph: Make) -> None:
    program = lower(trained("gcn"))
    x, edge_index, batch = random_graph(50, 150, 4, seed=3)
    assert torch.equal(program(x, edge_index, batch), program(x, edge_index.flip(1), batch))


def test_trace_gives_every_value(trained: Make, random_graph: Make) -> None:
    program = lower(trained("gin", activation_bits=4))
    x, edge_index, batch = random_graph(50, 150, 4, seed=3)
    values = program.trace(x, program.graph(edge_index, 50, batch))
    assert list(values) == [operation.target for operation in program.operations]
    assert all(isinstance(value, Codes) for name, value in values.items() if name != "logits")
    assert values["states.1"].data.shape == (50, 4)  # two codes in a byte


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.zeros(3, 4), r"x must be float32 \[N, 5\], got torch.float32 \[3, 4\]"),
        (torch.zeros(3, 5, dtype=torch.float64), r"x must be float32 \[N, 5\], got torch.float64"),
        (torch.full((3, 5), torch.nan), "x must not hold NaN"),
    ],
)
def test_bad_features(trained: Make, x: torch.Tensor, message: str) -> None:
    with pytest.raises(DataError, match=message):
        lower(trained("gcn"))(x, torch.zeros(2, 0, dtype=torch.int64))


def test_bad_categories(trained: Make) -> None:
    program, nothing = lower(trained("gcn", categories=4)), torch.zeros(2, 0, dtype=torch.int64)
    with pytest.raises(DataError, match=r"x must hold categories in 0\.\.3, got 0\.\.4"):
        program(torch.arange(5), nothing)
    with pytest.raises(DataError, match=r"x must be int64 \[N\]"):
        program(torch.zeros(3, 5), nothing)


def test_limits(trained: Make, random_graph: Make) -> None:
    program = lower(trained("gin"))
    x, edge_index, batch = random_graph(50, 150, 1, seed=3)
    crowded = replace(program, signature=replace(program.signature, degree_limit=2))
    with pytest.raises(DataError, match="edges into one node must be at most 2"):
        crowded(x, edge_index, batch)
    large = replace(program, signature=replace(program.signature, size_limit=49))
    with pytest.raises(DataError, match=r"nodes in one graph must be at most 49 .* got 50"):
        large(x, edge_index, batch)
