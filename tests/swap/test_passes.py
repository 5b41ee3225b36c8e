"""Masks of Degree-Quant in a user's network, and the structures that are kept."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch_geometric.nn import GCNConv, GINConv

import dqrun
from dqrun.data.packed import degree_rank
from dqrun.graphs import Graph
from dqrun.swap import ForwardPass, SwappedConv, SwappedLinear
from dqrun.swap.structures import Structures, in_degree, rank_within

Inputs = dict[str, Any]
HALF = ["dq", "method.protection.p_min=0.5", "method.protection.p_max=0.5"]


def watch(model: nn.Module) -> list[Tensor | None]:
    """The masks that layers and linear layers get from now on."""
    seen: list[Tensor | None] = []
    for module in model.modules():
        if isinstance(module, SwappedConv):
            module.layer.register_forward_pre_hook(lambda _, args: seen.append(args[1].protected))
        elif isinstance(module, SwappedLinear):
            module.linear.register_forward_pre_hook(lambda _, args: seen.append(args[1]))
    return seen


def test_one_mask_serves_a_forward_pass(network: nn.Module, batch: Inputs) -> None:
    model = dqrun.quantize(network, "int8", HALF)
    seen = watch(model.train())
    model(**batch)
    first = [mask for mask in seen if mask is not None]
    assert len(first) >= 2 and 0 < int(first[0].sum()) < 20
    assert all(torch.equal(mask, first[0]) for mask in first)
    is_head = len(seen) - len(first)
    assert is_head == (1 if hasattr(network, "head") else 0)  # its rows are graphs
    seen.clear()
    model(**batch)
    assert not torch.equal(next(mask for mask in seen if mask is not None), first[0])
    seen.clear()
    model.eval()(**batch)
    assert seen and not any(mask is not None for mask in seen)


def test_a_mask_for_each_layer(network: nn.Module, batch: Inputs) -> None:
    model = dqrun.quantize(network, "int8", [*HALF, "method.protection.per_layer=true"])
    masks = watch_convolutions(model.train())
    model(**batch)
    assert len(masks) == 2 and not torch.equal(masks[0], masks[1])


def watch_convolutions(model: nn.Module) -> list[Tensor]:
    seen: list[Tensor] = []
    for module in model.modules():
        if isinstance(module, SwappedConv):
            module.layer.register_forward_pre_hook(lambda _, args: seen.append(args[1].protected))
    return seen


def test_other_methods_have_none(network: nn.Module, batch: Inputs) -> None:
    model = dqrun.quantize(network, "int8", "naive")
    seen = watch(model.train())
    model(**batch)
    assert seen and not any(mask is not None for mask in seen)


def test_masks_follow_torchs_seed(network: nn.Module, batch: Inputs) -> None:
    model = dqrun.quantize(network, "int8", HALF).train()
    seen = watch(model)
    for _ in range(2):
        torch.manual_seed(5)
        model(**batch)
    half = len(seen) // 2
    assert seen[0] is not None and seen[half] is not None and torch.equal(seen[0], seen[half])


def ranks(model: nn.Module, batch: Inputs, monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """The ranks that masks are drawn by in one forward pass."""
    seen: list[Tensor] = []
    (forward_pass,) = {id(m._pass): m._pass for m in model.modules() if isinstance(m, SwappedConv)}.values()
    draw = forward_pass.draw
    assert draw is not None

    def recording(graph: Graph) -> Graph:
        seen.append(graph.degree_rank)
        return draw(graph)

    monkeypatch.setattr(forward_pass, "draw", recording)
    model.train()(**batch)
    return seen


def test_degrees_are_ranked_within_graphs_where_batch_is_given(
    network: nn.Module, batch: Inputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    edges, nodes = batch["edge_index"], 20
    degree = torch.bincount(edges[1, edges[0] != edges[1]], minlength=nodes)
    within = degree_rank(degree, torch.tensor([0, 5, 10, 15, 20]))
    (found,) = ranks(dqrun.quantize(network), batch, monkeypatch)
    assert torch.equal(found, within)


def test_else_among_all_nodes(batch: Inputs, monkeypatch: pytest.MonkeyPatch) -> None:
    edges = batch["edge_index"]
    degree = torch.bincount(edges[1, edges[0] != edges[1]], minlength=20)
    inputs = {"x": batch["x"], "edge_index": edges}
    (found,) = ranks(dqrun.quantize(GIN_ALONE()), inputs, monkeypatch)
    assert torch.equal(found, degree_rank(degree, torch.tensor([0, 20])))


class GIN_ALONE(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = GINConv(nn.Linear(6, 3))

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        return self.conv(x, edge_index)  # type: ignore[no-any-return]


def test_ranks_of_nodes_in_any_order(batch: Inputs) -> None:
    edges, graphs = batch["edge_index"], batch["batch"]
    order = torch.randperm(20, generator=torch.Generator().manual_seed(0))
    place = order.argsort()
    assert torch.equal(rank_within(place[edges], graphs[order]), rank_within(edges, graphs)[order])
    assert int(in_degree(edges, 20).sum()) == int((edges[0] != edges[1]).sum())


def test_modules_that_are_called_one_by_one_share_a_pass(batch: Inputs) -> None:
    model = dqrun.quantize(nn.ModuleDict({"a": GCNConv(6, 6), "b": GCNConv(6, 6)}), "int8", HALF).train()
    seen = watch_convolutions(model)
    for _ in range(2):
        model["b"](model["a"](batch["x"], batch["edge_index"]), batch["edge_index"])
    assert torch.equal(seen[0], seen[1]) and torch.equal(seen[2], seen[3]) and not torch.equal(seen[0], seen[2])


def test_a_structure_is_known_again_until_its_edges_change(batch: Inputs) -> None:
    structures, edges = Structures(), batch["edge_index"].clone()
    graph = structures.graph(edges, 20, True)
    assert structures.graph(edges, 20, True) is graph
    assert structures.graph(edges, 20, False) is not graph and structures.graph(edges, 21, True).num_nodes == 21
    assert structures.graph(edges.clone(), 20, True) is not graph
    edges[1, 0] = (edges[1, 0] + 1) % 20
    changed = structures.graph(edges, 20, True)
    assert changed is not graph and not torch.equal(changed.csr.col, graph.csr.col)
    assert copy.deepcopy(structures)._known == []


def test_few_structures_are_kept_and_none_of_tensors_that_are_gone(batch: Inputs) -> None:
    structures, edges = Structures(), [batch["edge_index"].clone() for _ in range(20)]
    for each in edges:
        structures.graph(each, 20, True)
    assert len(structures._known) == 8
    kept = edges[-1]
    del edges, each
    structures.graph(batch["edge_index"], 20, True)
    assert len(structures._known) == 2 and structures._known[0].edge_index() is kept


def test_inference_tensors_are_not_kept(batch: Inputs) -> None:
    structures = Structures()
    with torch.inference_mode():
        edges = batch["edge_index"].clone()
        structures.graph(edges, 20, True)
        edges[1, 0] = (edges[1, 0] + 1) % 20
        fresh = Structures().graph(edges.clone(), 20, True)
        assert torch.equal(structures.graph(edges, 20, True).csr.col, fresh.csr.col)


def test_a_copy_has_a_pass_of_its_own(network: nn.Module, batch: Inputs) -> None:
    model = dqrun.quantize(network, "int8", HALF)
    other = copy.deepcopy(model)

    def passes(of: nn.Module) -> set[int]:
        return {id(module._pass) for module in of.modules() if isinstance(module, SwappedConv | SwappedLinear)}

    assert len(passes(model)) == len(passes(other)) == 1 and passes(model) != passes(other)
    seen = watch_convolutions(other.train())
    other(**batch)
    assert seen and torch.equal(seen[0], seen[1])


def test_a_pass_ends_after_an_error(batch: Inputs) -> None:
    model = dqrun.quantize(GIN_ALONE(), "int8", HALF).train()
    (forward_pass,) = (module._pass for module in model.modules() if isinstance(module, SwappedConv))
    with pytest.raises(dqrun.DataError):
        model(batch["x"][:3], batch["edge_index"])
    assert isinstance(forward_pass, ForwardPass) and forward_pass._inside == 0
