"""What was trained is what runs: the codes of a program against those of the fake-quantised network.

Against a simulation of the network in float64 they are equal, as long as no value lies on a rounding tie; against the
network in float32, whose sums are rounded, a code in 10,000 may be one apart.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from dqrun.errors import DataError
from dqrun.graphs import Graph
from dqrun.integer import Program
from dqrun.integer.lower import lower
from dqrun.integer.operations import Attention, DynamicAttention, Value
from dqrun.integer.simulation import simulate
from dqrun.kernels.integer import Codes
from dqrun.nn import GNN
from dqrun.quant import Quantizer, named_sites

Make = Callable[..., Any]
ROWS = ((), ("inside", "real"), ("integer", "real"), ("integer", "power_of_two"), ("real", "real"))


def in_float64(program: Program) -> Program:
    """The program with attention computed in float64 too."""
    operations = (
        replace(operation, attention=operation.attention.double())
        if isinstance(operation, Attention | DynamicAttention)
        else operation
        for operation in program.operations
    )
    return replace(program, operations=tuple(operations))


def check_float64(model: GNN, x: Tensor, graph: Graph) -> bool:
    """Compares all codes; returns False, without having compared, where a value lies on a tie."""
    simulation = simulate(model, x, graph)
    if simulation.tie:
        return False
    values = in_float64(lower(model)).trace(x, graph)
    assert set(values) == {*simulation.codes, "logits"}
    for name, expected in simulation.codes.items():
        value = values[name]
        assert isinstance(value, Codes)
        assert torch.equal(value.unpack().int(), expected), name
    torch.testing.assert_close(values["logits"], simulation.logits.float(), atol=1e-6, rtol=1e-6)
    return True


def options_of(draw: st.DrawFn, name: str) -> dict[str, Any]:
    """Any network that a configuration can ask for."""
    options: dict[str, Any] = {
        "layers": draw(st.integers(1, 3)),
        "activation": draw(st.sampled_from(["relu", "elu", "none"])),
        "norm": draw(st.sampled_from(["none", "batch"])),
        "residual": draw(st.booleans()),
        "encoder": draw(st.sampled_from(["none", "linear"])),
        "readout": draw(st.sampled_from(["mean", "sum", "max"])),
        "head": draw(st.sampled_from([[], [1], [2, 4]])),
        "graph_level": draw(st.booleans()),
        "categories": draw(st.sampled_from([0, 0, 4])),
        "out_heads": draw(st.integers(1, 2)),
        "learned_scale": draw(st.booleans()),
        "weight_granularity": draw(st.sampled_from(["tensor", "channel"])),
        "rows": draw(st.sampled_from(ROWS)),
    }
    return options | ({"mlp_norm": draw(st.booleans()), "mlp_layers": draw(st.integers(1, 3))} if name == "gin" else {})


@pytest.mark.parametrize("name", ["gcn", "gat", "gin", "sage", "gatv2"])
def test_codes_equal_the_simulation(name: str, trained: Make, random_graph: Make, graph_for: Make) -> None:
    @settings(max_examples=60)
    @given(st.data())
    def check(data: st.DataObject) -> None:
        options = options_of(data.draw, name)
        weight_bits, activation_bits = data.draw(st.integers(2, 8)), data.draw(st.integers(2, 8))
        num_nodes = data.draw(st.integers(1, 40))
        num_edges, num_graphs = data.draw(st.integers(0, 3 * num_nodes)), data.draw(st.integers(1, num_nodes))
        seed = data.draw(st.integers(0, 999))
        model = trained(name, weight_bits, activation_bits, seed=seed, **options)
        x, edge_index, batch = random_graph(num_nodes, num_edges, num_graphs, seed, options["categories"])
        assume(check_float64(model, x, graph_for(model, edge_index, batch)))

    check()


@pytest.mark.parametrize("name", ["gcn", "gat", "gin", "sage", "gatv2"])
@pytest.mark.parametrize("bits", [4, 8])
def test_a_node_with_a_hundred_thousand_neighbours(name: str, bits: int, trained: Make, graph_for: Make) -> None:
    model = trained(name, bits, bits, graph_level=False)
    num_nodes = 2_001
    edges = torch.stack([torch.arange(100_000) % num_nodes, torch.zeros(100_000, dtype=torch.int64)])
    x = torch.randn(num_nodes, 5, generator=torch.Generator().manual_seed(1))
    assert check_float64(model, x, graph_for(model, edges, torch.zeros(num_nodes, dtype=torch.int64)))


@pytest.mark.parametrize("name", ["gcn", "gat", "gin", "sage", "gatv2"])
@pytest.mark.parametrize("bits", [4, 8])
def test_no_nodes_and_no_edges(name: str, bits: int, trained: Make) -> None:
    program = lower(trained(name, bits, bits))
    nothing = torch.empty(2, 0, dtype=torch.int64)
    assert program(torch.empty(0, 5), nothing, torch.empty(0, dtype=torch.int64)).shape == (0, 3)
    assert program(torch.empty(0, 5), nothing).shape == (1, 3)
    without = replace(program.graph(nothing, 4), node_ptr=torch.tensor([0, 2, 2, 4]))  # the second graph has no nodes
    assert program.run(torch.randn(4, 5), without).shape == (3, 3)


@pytest.mark.parametrize("name", ["gcn", "gat", "gin", "sage", "gatv2"])
@pytest.mark.parametrize(("weight_bits", "activation_bits"), [(8, 8), (4, 4), (4, 8)])
def test_codes_are_those_of_float32(
    name: str, weight_bits: int, activation_bits: int, trained: Make, random_graph: Make, graph_for: Make
) -> None:
    """Each operation, given the codes of the float32 network: at most one apart, in at most one of 10,000 codes.

    (An end-to-end run adds what one such code changes further on.)
    """
    options = {"norm": "batch", "residual": True, "encoder": "linear", "hidden": 16, "mlp_norm": name == "gin"}
    model = trained(name, weight_bits, activation_bits, **options)
    x, edge_index, batch = random_graph(2_000, 8_000, 50, seed=5)
    graph = graph_for(model, edge_index, batch)
    seen: dict[str, Tensor] = {}

    def keep_codes(name: str, quantizer: Quantizer) -> Callable[..., None]:
        def hook(module: nn.Module, arguments: Any, y: Tensor) -> None:
            scale, zero_point, _ = quantizer.fixed_scales()
            seen[name] = torch.round(y / scale).int() + zero_point - quantizer.spec.qmin

        return hook

    for site_name, site in named_sites(model):
        if site.quantizer is not None and not site.is_weight:
            site.register_forward_hook(keep_codes(site_name, site.quantizer))
    with torch.no_grad():
        logits = model(x, graph)
    values: dict[str, Value] = {"x": x}
    differences = []
    for operation in lower(model).operations:
        result = operation.run(values, graph)
        if operation.target == "logits":
            torch.testing.assert_close(result, logits, atol=1e-5, rtol=1e-5)
            break
        assert isinstance(result, Codes)
        expected = seen.pop(operation.target)
        differences.append((result.unpack().int() - expected).abs().flatten())
        values[operation.target] = Codes.of(expected, result.grid)
    apart = torch.cat(differences)
    assert not seen and apart.numel() > 100_000
    assert int(apart.max()) <= 1 and int(apart.sum()) <= apart.numel() / 10_000


@pytest.mark.parametrize("name", ["gcn", "sage"])
@pytest.mark.parametrize("bits", [4, 8])
def test_edge_weights(name: str, bits: int, trained: Make, random_graph: Make) -> None:
    model = trained(name, bits, bits, residual=True)
    x, edge_index, batch = random_graph(50, 150, 3, seed=7)
    weight = torch.rand(150, generator=torch.Generator().manual_seed(1))
    program = lower(model)
    graph = program.graph(edge_index, 50, batch, weight)
    assert check_float64(model, x, graph)
    assert torch.equal(program(x, edge_index, batch, weight), program.run(x, graph))
    assert not torch.equal(program(x, edge_index, batch, weight), program(x, edge_index, batch))


@pytest.mark.parametrize("name", ["gat", "gin"])
def test_edge_weights_that_layers_do_not_read_are_refused(name: str, trained: Make, random_graph: Make) -> None:
    program, (x, edge_index, batch) = lower(trained(name)), random_graph(5, 9, 1, seed=0)
    with pytest.raises(DataError, match="edge_weight must be None: the layers of this program read no weights"):
        program(x, edge_index, batch, torch.ones(9))
    with pytest.raises(DataError, match=r"edge_weight must be finite and >= 0, got -1\.0"):
        program.graph(edge_index, 5, batch, -torch.ones(9))
