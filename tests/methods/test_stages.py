"""A method's stages: the loop follows them as data."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from dqrun.config import TrainConfig
from dqrun.config.method import MethodConfig
from dqrun.errors import ConfigError
from dqrun.graphs import CSR, Batch, Graph
from dqrun.methods import Method, Stage
from dqrun.quant import Phase
from dqrun.training.course import Course
from dqrun.training.loop import fit
from dqrun.training.problem import Problem
from dqrun.training.seeding import Streams
from dqrun.training.state import Fit, Watcher
from dqrun.training.tasks import Task

GRAPH = Graph(CSR.from_edge_index(torch.tensor([[0], [1]]), 2), torch.tensor([0, 2]), torch.zeros(2), torch.ones(2))
BATCH = Batch(GRAPH, torch.tensor([[1.0], [-1.0]]), torch.tensor([0, 1]))


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.searched, self.weight = nn.Parameter(torch.zeros(())), nn.Linear(1, 2)

    def forward(self, x: Tensor, graph: Graph) -> Tensor:
        return self.weight(x) * (1 + self.searched)


class SearchThenFix(Method):
    def stages(self, train: TrainConfig) -> list[Stage]:
        return [
            Stage("search", 2, Phase.QUANTIZE, kept=False),
            Stage("fix", train.epochs, Phase.QUANTIZE, trained=("weight.*",), restarts=True, lr=0.5),
        ]

    def penalty(self, model: nn.Module) -> Tensor:
        return model.searched.square()

    def before_epoch(self, model: nn.Module, epoch: int, stage: Stage) -> None:
        model.log = [*getattr(model, "log", []), (epoch, stage.name, model.searched.item())]


def trained(method: Method, train: TrainConfig) -> tuple[Network, Fit]:
    torch.manual_seed(0)
    model, batches = Network(), [BATCH]
    problem = Problem(Task("node_classification"), lambda generator: batches, lambda: batches, lambda: batches)
    return model, fit(model, method, problem, Course.of(method, train), Streams.of_seed(0), Watcher())


def test_a_search_is_not_kept_and_what_it_found_is_fixed() -> None:
    method = SearchThenFix(MethodConfig(kind="mine", name="mine"))
    model, result = trained(method, TrainConfig(epochs=3, lr=0.1))
    assert [(epoch, name) for epoch, name, _ in model.log] == [
        (1, "search"),
        (2, "search"),
        *((i, "fix") for i in (3, 4, 5)),
    ]
    found = [value for *_, value in model.log]
    assert found[0] != found[1] != found[2] and found[2] == found[3] == found[4]
    assert [epoch.lr for epoch in result.history] == [0.1, 0.1, 0.5, 0.5, 0.5]
    assert result.best is not None and result.best.epoch > 2


def test_stages_of_which_no_epoch_is_kept_are_refused() -> None:
    with pytest.raises(ConfigError, match="must have an epoch that may be kept"):
        Course(TrainConfig(), (Stage("search", 2, Phase.QUANTIZE, kept=False),))


def test_a_longer_training_goes_on_where_only_its_last_stage_is_longer() -> None:
    method = SearchThenFix(MethodConfig(kind="mine", name="mine"))
    short, long = (Course.of(method, TrainConfig(epochs=epochs)) for epochs in (3, 5))
    assert long.stages[0] == short.stages[0] and Course(short.train, long.stages).extends(short)
    other = (Stage("search", 3, Phase.QUANTIZE, kept=False), long.stages[1])
    assert not Course(short.train, other).extends(short)


class SearchThenAnew(SearchThenFix):
    """Its second stage is the training that would have been without the first, apart from what `kept` names."""

    def __init__(self, search: int, kept: tuple[str, ...]) -> None:
        super().__init__(MethodConfig(kind="mine", name="mine"))
        self.search, self.kept = search, kept

    def stages(self, train: TrainConfig) -> list[Stage]:
        search = [Stage("search", self.search, Phase.QUANTIZE, kept=False)] if self.search else []
        return [*search, Stage("train", train.epochs, Phase.QUANTIZE, trained=("weight.*",), anew=self.kept)]

    def before_batch(self, batch: Batch, streams: Streams) -> Batch:
        noise = torch.randn(2, 1, generator=streams.protection) + torch.randn(2, 1)
        return replace(batch, x=batch.x + noise)


def test_a_training_begins_anew_after_a_search() -> None:
    """Parameters, random streams, optimiser and early stopping are those of a training without the search."""
    train = TrainConfig(epochs=60, lr=0.05, early_stop_window=3)
    (_, alone), (model, after) = (trained(SearchThenAnew(search, ()), train) for search in (0, 7))
    assert len(alone.history) < 60 and Course.of(SearchThenAnew(7, ()), train).searched == 7
    same = ("train_loss", "val_loss", "lr")
    wanted = [[getattr(epoch, name) for name in same] for epoch in alone.history]
    assert [[getattr(epoch, name) for name in same] for epoch in after.history[7:]] == wanted
    assert [value for *_, value in model.log[8:]] == [0.0] * (len(alone.history) - 1)


def test_what_a_search_found_stays_when_the_training_begins_anew() -> None:
    model, result = trained(SearchThenAnew(5, ("searched",)), TrainConfig(epochs=3, lr=0.05))
    found = [value for *_, value in model.log]
    assert found[4] != 0.0 and found[5:] == [model.searched.item()] * 3
    assert result.history[0].train_loss != result.history[1].train_loss
