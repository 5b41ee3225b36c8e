"""`torch.compile` keeps operators whole: one graph of a network in evaluation, and the same results as without it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from dqrun import kernels
from dqrun.composition.compose import load_configs
from dqrun.graphs import Graph
from dqrun.nn.build import build_model

GRID = torch.tensor(0.4), torch.tensor(1, dtype=torch.int32), -4, 3


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def graph_of(csr: Any) -> Graph:
    n = csr.num_nodes
    return Graph(csr, torch.tensor([0, 8, n]), (torch.arange(n) >= 8).long(), torch.rand(n))


@pytest.mark.parametrize("quant", ["fp32", "int8"])
@pytest.mark.parametrize("name", ["gcn", "gin"])
def test_a_network_in_evaluation_is_one_graph(random_graph: Callable[..., Any], name: str, quant: str) -> None:
    words = ["dataset=cifar10", f"model={name}", f"quant={quant}", *(["method=dq"] if quant == "int8" else [])]
    (config,) = load_configs(words)
    graph, x = graph_of(random_graph(20, 60)), torch.randn(20, 6)
    model = build_model(config, 6, 0, 3)
    model.train()(x, graph)  # ranges
    with torch.no_grad():
        expected = model.eval()(x, graph)
        seen: list[torch.fx.GraphModule] = []

        def backend(traced: torch.fx.GraphModule, _: list[Tensor]) -> Callable[..., Any]:
            seen.append(traced)
            return traced.forward

        torch.testing.assert_close(torch.compile(model, backend=backend, fullgraph=True)(x, graph), expected)
    assert len(seen) == 1
    called = {str(node.target) for node in seen[0].graph.nodes if "dqrun" in str(node.target)}
    assert {"dqrun.linear.default", "dqrun.segment_sum.default"} & called
    assert ("dqrun.fake_quantize.default" in called) == (quant == "int8")


def test_training_through_operators_is_one_graph_there_and_back(random_graph: Callable[..., Any]) -> None:
    csr, x, weight = random_graph(20, 60), torch.randn(20, 6), torch.rand(4, 6)

    def loss(x: Tensor, weight: Tensor) -> Tensor:
        h = kernels.fake_quantize(kernels.spmm(csr, x), *GRID, None, "clipped", True)
        return kernels.linear(h, weight).square().sum()

    found = []
    for function in (loss, torch.compile(loss, backend="aot_eager", fullgraph=True)):
        leaves = x.clone().requires_grad_(), weight.clone().requires_grad_()
        found.append(torch.autograd.grad(function(*leaves), leaves))
    torch.testing.assert_close(*found)
