"""A model that is registered in the process: its run is loaded and lowered like one of dqrun's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.nn import GCNConv
from torch_geometric.nn.aggr import MeanAggregation

import dqrun
from dqrun.graphs import Graph
from dqrun.methods.dq import DegreeQuant


class Network(nn.Module):
    """A chain of operations."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv, self.pool = GCNConv(in_channels, 8), MeanAggregation()
        self.linear = nn.Linear(8, out_channels)

    def forward(
        self,
        x: Tensor,
        edge_index: Tensor,
        batch: Tensor | None = None,
        edge_weight: Tensor | None = None,
        edge_attr: Tensor | None = None,
    ) -> Tensor:
        return self.linear(self.pool(F.relu(self.conv(x, edge_index, edge_weight)), batch))  # type: ignore[no-any-return]


@pytest.fixture
def registered() -> Iterator[str]:
    dqrun.register.model("testchain")(Network)
    yield "testchain"
    dqrun.register.model.remove("testchain")


def test_its_run_is_loaded_and_lowered(registered: str, tmp_path: Path) -> None:
    words = ("dataset=threads", "dataset.graphs=20", f"model={registered}", "quant=int8", "plan=integer")
    frame = dqrun.run(*words, "train.epochs=2", "protocol.trials=1", "threads=1", results=tmp_path, progress=False)
    assert list(frame["status"]) == ["done"], frame["reason"].tolist()
    model = dqrun.load_model(frame["run_id"][0], tmp_path)
    edges = torch.randint(12, (2, 40), generator=torch.Generator().manual_seed(0))
    batch = torch.arange(12) // 6
    edges = edges[:, batch[edges[0]] == batch[edges[1]]]
    logits = model(None, edges, batch)
    program = dqrun.lower(model)
    given = program(model.features(None, edges, 12), edges, batch)
    assert logits.shape == (2, 2)
    assert (given - logits).abs().max() < 0.05 * logits.abs().max()


def test_each_of_its_convolutions_has_a_mask(registered: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The configuration says nothing of its layers: they are counted."""
    drawn = []
    protect = DegreeQuant.protect

    def counting(method: DegreeQuant, graph: Graph, generator: torch.Generator) -> Graph:
        found = protect(method, graph, generator)
        assert found.protection_masks is not None
        drawn.append(len(found.protection_masks))
        return found

    class Three(Network):
        def __init__(self, in_channels: int, out_channels: int) -> None:
            super().__init__(in_channels, out_channels)
            self.second, self.third = GCNConv(8, 8), GCNConv(8, 8)

        def forward(self, x: Tensor, edge_index: Tensor, batch: Tensor | None = None) -> Tensor:  # type: ignore[override]
            h = F.relu(self.second(F.relu(self.conv(x, edge_index)), edge_index))
            return self.linear(self.pool(self.third(h, edge_index), batch))  # type: ignore[no-any-return]

    dqrun.register.model("threeconvs")(Three)
    monkeypatch.setattr(DegreeQuant, "protect", counting)
    try:
        words = ("dataset=threads", "dataset.graphs=20", "model=threeconvs", "quant=int8", "method=dq")
        each = ("method.protection.per_layer=true", "train.epochs=1", "protocol.trials=1", "threads=1")
        frame = dqrun.run(*words, *each, results=tmp_path, progress=False)
    finally:
        dqrun.register.model.remove("threeconvs")
    assert list(frame["status"]) == ["done"], frame["reason"].tolist()
    assert drawn and set(drawn) == {3}
