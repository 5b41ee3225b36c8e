"""A compiled library gives the numbers of its judge, the program with the fixed-point rule: all codes, all logits."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch

from dqrun.bench.one_bit import of_one_bit
from dqrun.errors import DataError
from dqrun.integer.c import Library, Limits, write_library
from dqrun.integer.c.compiled import Compiled, find_compiler, own_edges, stored
from dqrun.integer.lower import lower

Make = Callable[..., Any]
QUICK = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-O1")
LIMITS = Limits(nodes=50, edges=150)

NETWORKS: dict[str, dict[str, Any]] = {
    "gcn": {"name": "gcn", "norm": "batch", "residual": True},
    "gcn of nodes, odd widths": {"name": "gcn", "graph_level": False, "hidden": 7, "weight_bits": 3},
    "gcn of channels' scales": {"name": "gcn", "weight_granularity": "channel", "activation": "elu", "readout": "sum"},
    "gin": {"name": "gin", "mlp_norm": True, "norm": "batch", "residual": True, "head": [1, 2]},
    "gin of categories": {"name": "gin", "categories": 4, "readout": "max", "hidden": 9},
    "sage": {"name": "sage", "readout": "max"},
    "sage, wide weights": {"name": "sage", "graph_level": False, "weight_bits": 8},
    "gat": {"name": "gat", "activation": "elu", "residual": True},
    "gat of nodes, mean of heads": {"name": "gat", "graph_level": False, "out_heads": 3},
}


@pytest.fixture
def compiler() -> str:
    found = find_compiler()
    if found is None:
        pytest.skip("there is no C compiler")
    return found


@pytest.mark.parametrize(
    ("network", "bits"),
    [
        *product(("gcn", "gin", "sage", "gat"), (1, 2, 4, 8)),
        ("gin of categories", 1),
        ("sage, wide weights", 2),
        ("gcn of nodes, odd widths", 2),
        ("gcn of nodes, odd widths", 8),
        ("gcn of channels' scales", 4),
        ("gin of categories", 4),
        ("sage, wide weights", 4),
        ("gat of nodes, mean of heads", 8),
    ],
)
def test_all_codes(trained: Make, random_graph: Make, compiler: str, tmp_path: Path, network: str, bits: int) -> None:
    options = {"weight_bits": max(bits, 2), "activation_bits": max(bits, 2)} | NETWORKS[network]
    program = lower(trained(**options))
    program = (program if bits > 1 else of_one_bit(program)).with_epilogue("fixed")
    library = Library(program, LIMITS, "net")
    write_library(library, tmp_path)
    compiled = Compiled(library, tmp_path, compiler, QUICK)
    x, edge_index, _ = random_graph(50, 150, 1, seed=5, categories=options.get("categories", 0))
    graph = program.graph(edge_index, 50)
    expected = {site: stored(value) for site, value in program.trace(x, graph).items()}
    first = program.operations[0].target
    given = x if x.dtype == torch.int64 else compiled.quantize(3 * x)
    if x.dtype != torch.int64:
        assert torch.equal(compiled.quantize(x), expected[first])
        expected = {site: stored(value) for site, value in program.trace(3 * x, graph).items()}
        assert torch.equal(given, expected.pop(first)), "features beyond the grid"
    found = compiled.trace(given, edge_index)
    assert list(found) == list(expected)
    for site, value in found.items():
        assert torch.equal(value, expected[site]), site
    assert torch.equal(compiled.run(given, own_edges(edge_index, program.self_loops)), found["logits"])
    assert found["logits"].unique().numel() > 2


def test_features_on_the_middle_of_two_codes(trained: Make, random_graph: Make, compiler: str, tmp_path: Path) -> None:
    program = lower(trained("gin")).with_epilogue("fixed")
    library = Library(program, LIMITS, "net")
    write_library(library, tmp_path)
    first = program.operations[0]
    halves = (torch.arange(-300, 300) + 0.5) * first.grid.scale
    x = torch.cat([halves, torch.tensor([1e30, -1e30, torch.inf, -torch.inf, 0.0])]).view(-1, 5)
    assert torch.equal(Compiled(library, tmp_path, compiler, QUICK).quantize(x), first.run({"x": x}, None).data)


def test_what_is_refused_has_a_status(trained: Make, compiler: str, tmp_path: Path) -> None:
    library = Library(lower(trained("gcn")).with_epilogue("fixed"), Limits(5, 9, 4), "net")
    write_library(library, tmp_path)
    compiled = Compiled(library, tmp_path, compiler, QUICK)

    def status(nodes: int, edges: list[tuple[int, int]]) -> int:
        index = torch.tensor(edges, dtype=torch.int64).view(-1, 2).T
        try:
            compiled.run(torch.zeros(nodes, 5, dtype=torch.uint8), index)
        except DataError as error:
            return int(str(error).removeprefix("net_run gives status "))
        return 0

    assert status(0, []) == status(1, []) == status(5, [(1, 0), (2, 0), (3, 0), (0, 0)]) == 0
    assert status(6, []) == 2
    assert status(5, [(0, 1)] * 10) == 3
    assert status(3, [(0, 3)]) == status(3, [(-1, 0)]) == 4
    assert status(5, [(1, 0), (2, 0), (3, 0), (4, 0)]) == 5  # and its self-loop: five


def test_a_compiler_that_refuses_is_quoted(trained: Make, compiler: str, tmp_path: Path) -> None:
    library = Library(lower(trained("gcn")).with_epilogue("fixed"), LIMITS, "net")
    write_library(library, tmp_path)
    with (tmp_path / "net.c").open("a") as stream:
        stream.write("int broken\n")
    with pytest.raises(DataError, match=r"refuses net\.c \(net\.c:\d+"):
        Compiled(library, tmp_path, compiler, QUICK).run(torch.zeros(1, 5, dtype=torch.uint8), torch.zeros(2, 0))
