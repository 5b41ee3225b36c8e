"""Running programs: PyG's tensors, limits, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from dqrun.errors import DataError
from dqrun.integer.lower import lower
from dqrun.kernels.integer import Codes

Make = Callable[..., Any]


@pytest.mark.parametrize("name", ["gcn", "gat", "gin", "sage", "gatv2"])
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
    """The limits follow from the codes; no graph of that size has to exist to be refused."""
    program = lower(trained("gin"))
    most = (2**31 - 1) // 255
    x, edge_index, batch = random_graph(50, 150, 1, seed=3)
    graph = program.graph(edge_index, 50, batch)
    for into in (most, most + 1):
        crowded = replace(graph, csr=replace(graph.csr, rowptr=torch.tensor([0] * 50 + [into])))
        large = replace(graph, node_ptr=torch.tensor([0, into]))
        if into == most:
            program.check_graph(crowded)
            program.check_graph(large)
            continue
        with pytest.raises(DataError, match=rf"edges into one node must be at most {most} .* got {into}"):
            program.run(x, crowded)
        with pytest.raises(DataError, match=rf"nodes in one graph must be at most {most} .* got {into}"):
            program.run(x, large)


@pytest.mark.parametrize(
    ("x", "got"),
    [
        (torch.zeros(3, 5).to_sparse(), "torch.sparse_coo"),
        (torch.zeros(3, 5, device="meta"), "meta"),
        ([[0.0] * 5] * 3, "list"),
    ],
)
def test_tensors_that_kernels_cannot_read(trained: Make, x: Any, got: str) -> None:
    program, nothing = lower(trained("gcn")), torch.zeros(2, 0, dtype=torch.int64)
    with pytest.raises(DataError, match=f"^x must be a dense tensor on the CPU, got {got}$"):
        program(x, nothing)
    dense = torch.zeros(3, 5)
    with pytest.raises(DataError, match=r"^edge_index must be a dense tensor on the CPU, got torch.sparse_coo$"):
        program(dense, nothing.to_sparse())
    with pytest.raises(DataError, match=r"^batch must be a dense tensor on the CPU, got list$"):
        program(dense, nothing, [0, 0, 0])


def test_rows_that_a_structure_does_not_have(trained: Make) -> None:
    program = lower(trained("gcn"))
    graph = program.graph(torch.tensor([[0], [3]]), 4)
    with pytest.raises(DataError, match="x must have a row for each of 4 nodes, got 3"):
        program.run(torch.zeros(3, 5), graph)
    with pytest.raises(DataError, match=r"x must be float32 \[N, 5\]"):
        program.run(torch.zeros(4, 3), graph)
