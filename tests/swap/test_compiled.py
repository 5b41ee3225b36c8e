"""`torch.compile` of a quantised network: one graph, with the numbers of the network itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch_geometric.nn import GATConv, GCNConv, GINConv, SAGEConv

import dqrun
from dqrun.errors import DataError


class Net(nn.Module):
    """Two convolutions; names of arguments mean nothing."""

    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.first, self.second = first, second

    def forward(self, features: Tensor, edges: Tensor) -> Tensor:
        return self.second(self.first(features, edges).relu(), edges)  # type: ignore[no-any-return]


def mlp(width: int, out: int) -> nn.Module:
    return nn.Sequential(nn.Linear(width, 8), nn.ReLU(), nn.Linear(8, out))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "gat": lambda: Net(GATConv(6, 4, heads=2), GATConv(8, 3)),
    "gcn": lambda: Net(GCNConv(6, 8), GCNConv(8, 3)),
    "gin": lambda: Net(GINConv(mlp(6, 8)), GINConv(mlp(8, 3))),
    "sage": lambda: Net(SAGEConv(6, 8), SAGEConv(8, 3)),
}


DRAWS = ["dq", "method.protection.p_max=0.9", "method.protection.p_min=0.5"]


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def inputs(loops: int = 0) -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    source, step = torch.randint(20, (60,)), torch.randint(1, 20, (60,))
    edges = torch.stack([source, (source + step) % 20])
    edges[1, :loops] = edges[0, :loops]
    return torch.randn(20, 6), edges


def trained(name: str, method: Any, given: tuple[Tensor, Tensor]) -> nn.Module:
    torch.manual_seed(0)
    model = dqrun.quantize(NETWORKS[name](), "int8", method)
    for _ in range(3):
        model(*given)
    return model


def compiled(model: nn.Module, whole: bool = True) -> Any:
    """Compiled without code generation; `whole`: leaving the graph is an error."""
    return torch.compile(model, backend="eager", fullgraph=whole)


@torch.no_grad()
@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_evaluation_is_one_graph(name: str) -> None:
    given = inputs(loops=3)
    with torch.enable_grad():
        model = trained(name, "dq", given).eval()
    expected = model(*given)
    assert torch.equal(compiled(model)(*given), expected) and float(expected.abs().max()) > 1e-3


@pytest.mark.filterwarnings("ignore:The .grad attribute")
@pytest.mark.parametrize(("name", "method"), [("gcn", "naive"), ("gat", "naive"), ("gcn", DRAWS)])
def test_training_gives_the_numbers_of_the_network(name: str, method: Any) -> None:
    """One graph where the method draws no masks: these are drawn outside."""
    given = inputs()
    results = []
    for run in (lambda model: model, lambda model: compiled(model, whole=method == "naive")):
        model = trained(name, method, given)
        torch.manual_seed(2)
        output = run(model)(*given)
        output.square().sum().backward()
        buffers = [value.clone() for value in model.state_dict().values()]
        results.append([output.detach(), *(p.grad for p in model.parameters() if p.grad is not None), *buffers])
    assert len(results[0]) == len(results[1]) > 4
    assert all(torch.allclose(one, other, atol=1e-6) for one, other in zip(*results, strict=True))


@pytest.mark.filterwarnings("ignore:The .grad attribute")
def test_masks_are_drawn_in_compiled_training() -> None:
    given = inputs()
    run = compiled(trained("gcn", DRAWS, given), whole=False)
    torch.manual_seed(2)
    one = run(*given)
    torch.manual_seed(3)
    assert not torch.equal(run(*given), one)


@torch.no_grad()
def test_other_numbers_of_self_loops_are_told_and_then_known() -> None:
    without, with_loops = inputs(), inputs(loops=5)
    model = trained("gcn", "naive", without).eval()
    run = compiled(model, whole=False)
    assert torch.equal(run(*without), model(*without))
    with pytest.raises(
        DataError, match=r"edge_index must have 0 self-loops of its own, .* got 5: call the network once"
    ):
        run(*with_loops)
    expected = model(*with_loops)
    assert torch.equal(run(*with_loops), expected) and torch.equal(run(*without), model(*without))
