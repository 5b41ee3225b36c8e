"""The network in float64: the quick one and the watched one are the same network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from dqrun.integer.simulation import BLOCK, Float64Quantizer, in_float64, simulate
from dqrun.quant import Scales, named_sites

Make = Callable[..., Any]


@pytest.mark.parametrize("name", ["gcn", "gat", "gin", "sage", "gatv2"])
def test_watching_changes_nothing(name: str, trained: Make, random_graph: Make, graph_for: Make) -> None:
    model = trained(name, 4, 8, norm="batch", encoder="linear", residual=True, mlp_norm=name == "gin")
    before = {key: value.clone() for key, value in model.state_dict().items()}
    x, edge_index, batch = random_graph(500, 900, 4, seed=2)
    graph = graph_for(model, edge_index, batch)
    logits = in_float64(model)(x.double(), graph)
    simulation = simulate(model, x, graph)
    assert logits.dtype == torch.float64 and torch.equal(logits, simulation.logits)
    torch.testing.assert_close(logits.float(), model(x, graph).detach(), atol=0.05, rtol=0.05)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_rounding_in_blocks_is_the_rule_of_the_grid(trained: Make) -> None:
    quantizer = dict(named_sites(trained("gcn")))["states.1"].quantizer
    scale, zero_point, _ = quantizer.fixed_scales()
    scales = Scales(scale.double(), zero_point)
    x: Tensor = torch.randn(BLOCK // 2 + 3, 7, dtype=torch.float64)
    codes = quantizer.spec.encode(x, scales)
    for rows in (x, x[:1], x[:0]):
        found = Float64Quantizer(quantizer, float32_rule=False, watched=False)(rows)
        assert torch.equal(found, quantizer.spec.decode(codes[: len(rows)], scales))
