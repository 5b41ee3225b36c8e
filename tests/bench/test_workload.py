"""Steps change the weights that they are given, ours and the peer's by the same gradient."""

from __future__ import annotations

import pytest
import torch

from dqrun.bench import workload as module
from dqrun.bench.cli import workloads
from dqrun.bench.workload import Workload, targets
from dqrun.graphs import Batch


@pytest.fixture
def workload() -> Workload:
    words = [
        "dataset.graphs=60",
        "model=gin",
        "model.hidden=8",
        "model.head_dropout=0",
        "train.batch_size=16",
        "threads=1",
    ]
    ((fp32, *_),) = workloads(words)
    return Workload.prepare(fp32)


def test_one_step_of_ours_and_of_the_peer_give_the_same_network(
    workload: Workload, monkeypatch: pytest.MonkeyPatch
) -> None:
    networks: list[torch.nn.Module] = []

    def plain(model: torch.nn.Module, *_: object) -> torch.optim.Optimizer:
        networks.append(model)
        return torch.optim.SGD(model.parameters(), lr=0.1)

    monkeypatch.setattr(module, "make_optimizer", plain)
    monkeypatch.setattr("dqrun.training.state.make_optimizer", plain)
    ours, peer = workload.ours(workload.config), workload.peer("edge_index")
    ours(0), peer(0)
    totals = [sum(float(p.detach().double().sum()) for p in network.parameters()) for network in networks]
    assert totals[0] == pytest.approx(totals[1], rel=1e-4)


def test_targets_are_those_of_the_index(workload: Workload) -> None:
    batch = workload.batches[0]
    assert targets(batch) is batch.y
    y, rows = torch.arange(5), torch.tensor([4, 0])
    assert targets(Batch(batch.graph, batch.x, y, rows)).tolist() == [4, 0]


def test_an_epochs_batches_take_time(workload: Workload) -> None:
    assert workload.pipeline_seconds(workload.config) > 0
