"""Programs of users' networks: they run with integers and agree with the fake-quantised network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.data import Data
from torch_geometric.nn import GATConv, GCNConv, GINConv, SAGEConv, Sequential, global_add_pool
from torch_geometric.nn.aggr import MeanAggregation, SumAggregation

import dqrun

Inputs = dict[str, Any]


class Chain(nn.Module):
    """Modules and functions one after the other."""

    def __init__(self, *parts: Any) -> None:
        super().__init__()
        self.parts = parts
        self.known = nn.ModuleList(part for part in parts if isinstance(part, nn.Module))

    def forward(self, x: Tensor, edge_index: Tensor, batch: Tensor) -> Tensor:
        place = 0
        x = F.dropout(x, p=0.1, training=self.training)
        for part in self.parts:
            if not isinstance(part, nn.Module):
                x = part(x, edge_index, batch)
                continue
            module, place = self.known[place], place + 1
            if isinstance(part, GCNConv | GATConv | GINConv | SAGEConv):
                x = module(x, edge_index)
            else:
                x = module(x, batch) if isinstance(part, SumAggregation | MeanAggregation) else module(x)
        return x


def mlp(width: int, *end: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(width, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 8), *end)


def relu(x: Tensor, edge_index: Tensor, batch: Tensor) -> Tensor:
    return F.relu(x)


def always_dropout(x: Tensor, edge_index: Tensor, batch: Tensor) -> Tensor:
    return F.dropout(x, 0.1)


CHAINS: dict[str, Callable[[], nn.Module]] = {
    "gcn": lambda: Chain(GCNConv(6, 8), relu, nn.Dropout(0.1), GCNConv(8, 3)),
    "gcn without loops": lambda: Chain(GCNConv(6, 8, add_self_loops=False), nn.Linear(8, 3, bias=False)),
    "gat with norms": lambda: Chain(GATConv(6, 4, heads=2), nn.BatchNorm1d(8), nn.ELU(), GATConv(8, 3, concat=False)),
    "encoder and gcn": lambda: Chain(nn.Linear(6, 8), relu, GCNConv(8, 8), nn.ReLU(), nn.Linear(8, 3)),
    "gin": lambda: Chain(
        *(GINConv(mlp(6), train_eps=True), relu, GINConv(mlp(8, nn.ReLU(), nn.BatchNorm1d(8))), relu),
        *(SumAggregation(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3)),
    ),
    "sage": lambda: Chain(SAGEConv(6, 8), relu, SAGEConv(8, 3)),
    "means": lambda: Chain(GCNConv(6, 8), nn.BatchNorm1d(8), nn.ReLU(), MeanAggregation(), nn.Linear(8, 3)),
}


def trained(model: nn.Module, batch: Inputs, plan: str = "integer") -> nn.Module:
    quantised = dqrun.quantize(model, "int8", ["dq", "method.protection.enabled=false"], plan)
    optimizer = torch.optim.Adam(quantised.parameters(), lr=0.01)
    for _ in range(20):
        optimizer.zero_grad()
        quantised(**batch).square().sum().backward()
        optimizer.step()
    return quantised.eval()


@pytest.mark.parametrize("name", sorted(CHAINS))
def test_a_program_gives_what_the_network_gives(name: str, batch: Inputs) -> None:
    torch.manual_seed(0)
    model = trained(CHAINS[name](), batch)
    program = dqrun.lower(model)
    logits, expected = program(**batch), model(**batch).detach()
    assert logits.shape == expected.shape and float(expected.abs().max()) > 1e-3
    assert (logits - expected).abs().max() < 0.02 * expected.abs().max()  # a code may differ by rounding in float32
    assert program.signature.graph_level == (len(expected) == 4)
    other = {**batch, "x": batch["x"] * 0.5}
    assert (program(**other) - model(**other).detach()).abs().max() < 0.02 * expected.abs().max()


class OtherNames(nn.Module):
    """A network whose arguments have names of their own."""

    def __init__(self, pool: bool) -> None:
        super().__init__()
        self.conv, self.pool, self.last = SAGEConv(6, 8), SumAggregation() if pool else None, nn.Linear(8, 3)

    def forward(self, feats: Tensor, adjacency: Tensor, graphs: Tensor | None = None) -> Tensor:
        h = self.conv(feats, adjacency).relu()
        return self.last(h if self.pool is None or graphs is None else self.pool(h, graphs))  # type: ignore[no-any-return]


class WeightsThird(nn.Module):
    """A network with optional weights of edges, and a data object in the place of tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.second = GCNConv(6, 8), GCNConv(8, 3)

    def forward(self, a: Tensor, b: Tensor, w: Tensor | None = None) -> Tensor:
        return self.second(self.conv(a, b, w).relu(), b, w)  # type: ignore[no-any-return]


class OfData(WeightsThird):
    def forward(self, graph: Any) -> Tensor:  # type: ignore[override]
        return self.second(self.conv(graph.x, graph.edge_index).relu(), graph.edge_index)  # type: ignore[no-any-return]


@pytest.mark.parametrize("pool", [False, True])
def test_arguments_are_known_by_their_place(pool: bool, batch: Inputs) -> None:
    given = dict(zip(("feats", "adjacency", "graphs"), batch.values(), strict=True))
    model = trained(OtherNames(pool), given)
    expected = model(**given).detach()
    assert len(expected) == (4 if pool else len(batch["x"]))
    assert (dqrun.lower(model)(**batch) - expected).abs().max() < 0.02 * expected.abs().max()


def test_optional_weights_and_data_objects(batch: Inputs) -> None:
    inputs = {"x": batch["x"], "edge_index": batch["edge_index"]}
    model = trained(WeightsThird(), {"a": batch["x"], "b": batch["edge_index"]})
    expected = model(*inputs.values()).detach()
    assert (dqrun.lower(model)(**inputs) - expected).abs().max() < 0.02 * expected.abs().max()
    model = trained(OfData(), {"graph": Data(**inputs)})
    expected = model(Data(**inputs)).detach()
    assert (dqrun.lower(model)(**inputs) - expected).abs().max() < 0.02 * expected.abs().max()


class Swaps(WeightsThird):
    def forward(self, a: Tensor, b: Tensor, c: Tensor) -> Tensor:  # type: ignore[override]
        return self.second(self.conv(a, b), c)  # type: ignore[no-any-return]


def test_two_sets_of_edges_are_no_chain(batch: Inputs) -> None:
    model = trained(Swaps(), {"a": batch["x"], "b": batch["edge_index"], "c": batch["edge_index"][:, ::2]})
    with pytest.raises(dqrun.ConfigError, match="second can't be lowered: it takes c beside the result before it"):
        dqrun.lower(model)


def test_sequential_of_pyg(batch: Inputs) -> None:
    torch.manual_seed(0)
    parts = [(GCNConv(6, 8), "x, edge_index -> x"), nn.ReLU(inplace=True), (GCNConv(8, 3), "x, edge_index -> x")]
    inputs = {"x": batch["x"], "edge_index": batch["edge_index"]}
    model = trained(Sequential("x, edge_index", parts), inputs)
    expected = model(**inputs)
    assert (dqrun.lower(model)(**inputs) - expected).abs().max() < 0.02 * expected.abs().max()


def test_a_single_convolution(batch: Inputs) -> None:
    inputs = {"x": batch["x"], "edge_index": batch["edge_index"]}
    model = trained(GCNConv(6, 3), inputs)
    assert (dqrun.lower(model)(**inputs) - model(**inputs)).abs().max() < 0.05


def add_residual(x: Tensor, edge_index: Tensor, batch: Tensor) -> Tensor:
    return x + x


def pool(x: Tensor, edge_index: Tensor, batch: Tensor) -> Tensor:
    return global_add_pool(x, batch)  # type: ignore[no-any-return]


def softmax(x: Tensor, edge_index: Tensor, batch: Tensor) -> Tensor:
    return F.log_softmax(x, dim=1)


def depends(x: Tensor, edge_index: Tensor, batch: Tensor) -> Tensor:
    return x.relu() if x.detach().sum() > 0 else x


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ((GCNConv(6, 3), add_residual), "the sum of two tensors can't be lowered"),
        ((GCNConv(6, 3), softmax), "log_softmax can't be lowered"),
        ((GCNConv(6, 3), pool), "global_add_pool can't be lowered: pooling functions have no quantisation point"),
        ((GCNConv(6, 3), depends), "forward can't be lowered, it can't be followed as a chain of modules"),
        ((GCNConv(6, 6), nn.ReLU(), nn.Tanh(), GCNConv(6, 3)), r"known\.2 can't be lowered"),
        ((GCNConv(6, 6), nn.ELU(0.5), GCNConv(6, 3)), r"known\.1 can't be lowered unless alpha is 1"),
        ((GCNConv(6, 6), always_dropout, GCNConv(6, 3)), "dropout can't be lowered: it is active in evaluation"),
        ((nn.ReLU(), GCNConv(6, 3)), r"known\.0 can't be lowered before the first"),
        ((GCNConv(6, 3, improved=True),), "GCNConv with improved=True can't be lowered"),
        ((GCNConv(6, 6), GINConv(mlp(6))), "must all run over self-loops, or none"),
        ((GINConv(nn.Sequential(nn.ReLU(), nn.Linear(6, 3))),), "can't be lowered"),
        ((GCNConv(6, 6), nn.ELU(), nn.BatchNorm1d(6), GCNConv(6, 3)), "elu, batch norm after one another can't"),
    ],
)
def test_what_cannot_be_lowered_is_named(parts: tuple[Any, ...], message: str, batch: Inputs) -> None:
    model = trained(Chain(*parts), batch)
    with pytest.raises(dqrun.ConfigError, match=message) as caught:
        dqrun.lower(model)
    assert "\n" not in str(caught.value)


def test_plans_and_training_that_programs_need(batch: Inputs) -> None:
    with pytest.raises(dqrun.ConfigError, match="must be quantised in an integer program"):
        dqrun.lower(trained(CHAINS["gcn"](), batch, plan="paper"))
    with pytest.raises(dqrun.ConfigError, match="must have observed values before lowering"):
        dqrun.lower(dqrun.quantize(CHAINS["gcn"](), plan="integer"))
    with pytest.raises(dqrun.ConfigError, match=r"model must be a network of dqrun\.load_model or dqrun\.quantize"):
        dqrun.lower(CHAINS["gcn"]())
