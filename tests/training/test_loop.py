"""The loop: what it chooses, when it stops, what it refuses."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dqrun.config import ScheduleConfig, TrainConfig
from dqrun.config.method import MethodConfig
from dqrun.errors import TrialFailed
from dqrun.graphs import CSR, Batch, Graph
from dqrun.methods import Method, Qat, QatConfig
from dqrun.methods.dq import DegreeQuant, DegreeQuantConfig, ProtectionConfig
from dqrun.quant import LearnedScale, Phase, Quantizer, QuantSpec, RangeObserver, UniformRounding
from dqrun.training.course import Course
from dqrun.training.loop import evaluate, fit, is_better
from dqrun.training.passes import reestimate_norms
from dqrun.training.problem import Problem
from dqrun.training.seeding import Streams
from dqrun.training.state import Epoch, Fit, Watcher, make_optimizer
from dqrun.training.tasks import Task

GRAPH = Graph(
    csr=CSR.from_edge_index(torch.tensor([[0, 1], [1, 0]]), 4),
    node_ptr=torch.tensor([0, 2, 4]),
    batch=torch.tensor([0, 0, 1, 1]),
    degree_rank=torch.ones(4),
)
X = torch.tensor([[1.0], [2.0], [-1.0], [-2.0]])
NODES = Batch(GRAPH, X, torch.tensor([1, 1, 0, 0]), torch.tensor([0, 2]))
CLASSES = Task("node_classification")


def two_bits() -> Quantizer:
    return Quantizer(RangeObserver(QuantSpec(2), update="running_minmax"), UniformRounding(QuantSpec(2)))


class Line(nn.Module):
    """Two logits from one feature; remembers the masks it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(1, 2)
        self.seen: list[Tensor | None] = []

    def forward(self, x: Tensor, graph: Graph) -> Tensor:
        self.seen.append(graph.protected)
        return self.linear(x)


def streams() -> Streams:
    return Streams(*(torch.Generator().manual_seed(seed) for seed in range(4)))


PLAIN = Method(MethodConfig(kind="none", name="none"))


def qat(**settings: Any) -> Qat:
    return Qat(QatConfig(kind="naive", name="naive", **settings))


def run(
    model: nn.Module,
    config: TrainConfig,
    method: Method = PLAIN,
    batch: Batch = NODES,
    norm_batch: Batch | None = None,
) -> Fit:
    problem = Problem(CLASSES, lambda generator: [batch], lambda: [batch], lambda: [batch], norm_batch)
    return fit(model, method, problem, Course.of(method, config), streams(), Watcher())


def fit_with_losses(model: nn.Module, config: TrainConfig, losses: Iterator[float], delay_epochs: int) -> Fit:
    """`fit`, with validation losses as given."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "dqrun.training.loop.evaluate", lambda model, *_, **__: (model(NODES.x, GRAPH), (next(losses), 0.5))[1]
        )
        return run(model, config, qat(delay_epochs=delay_epochs))


def test_fit_learns_and_keeps_the_best_state() -> None:
    torch.manual_seed(0)
    model = Line()
    result = run(model, TrainConfig(epochs=50, lr=0.1))
    assert len(result.history) == 50 and result.best is not None
    assert result.best.val_loss == min(epoch.val_loss for epoch in result.history)
    loss, accuracy = evaluate(model, [NODES], CLASSES)
    assert loss == pytest.approx(result.best.val_loss) and accuracy == 1.0


def test_protection_is_drawn_in_training_only() -> None:
    model = Line()
    protection = ProtectionConfig(p_min=0.5, p_max=0.5)
    run(model, TrainConfig(epochs=2), DegreeQuant(DegreeQuantConfig(kind="dq", name="dq", protection=protection)))
    train_1, val_1, train_2, val_2 = model.seen
    assert train_1 is not None and train_2 is not None and val_1 is None and val_2 is None


def test_delayed_epochs_neither_round_nor_are_kept_nor_stop_the_training() -> None:
    torch.manual_seed(0)
    model, phases = Line(), []
    model.quantizer = two_bits()
    model.register_forward_pre_hook(lambda *_: phases.append(model.quantizer.phase))
    config = TrainConfig(epochs=6, lr=1.0, early_stop_window=1)
    losses = iter((0.1, 0.2, 5.0, 4.0, 3.0, 9.0))
    chosen = fit_with_losses(model, config, losses, delay_epochs=2)
    assert phases == [Phase.BYPASS] * 4 + [Phase.QUANTIZE] * 8
    assert [epoch.val_loss for epoch in chosen.history] == [0.1, 0.2, 5.0, 4.0, 3.0, 9.0]
    assert chosen.best is not None and chosen.best.epoch == 5
    assert len(chosen.state) == len(model.state_dict())


def test_steps_are_observed_after_the_delay() -> None:
    model, phases = Line(), []
    model.quantizer = two_bits()
    model.register_forward_pre_hook(lambda *_: phases.append(model.quantizer.phase))
    run(model, TrainConfig(epochs=4), qat(delay_epochs=1, observe_epochs=2, learned_scale=True))
    assert phases == [Phase.BYPASS] * 2 + [Phase.OBSERVE] * 4 + [Phase.QUANTIZE] * 2


def test_a_plateau_begins_after_the_delay() -> None:
    schedule = ScheduleConfig(name="plateau", factor=0.5, patience=0)
    losses = iter((1.0, 2.0, 3.0, 5.0, 4.0, 6.0))
    result = fit_with_losses(Line(), TrainConfig(epochs=6, lr=1.0, schedule=schedule), losses, delay_epochs=3)
    assert [epoch.lr for epoch in result.history] == [1.0] * 6
    assert result.best is not None and result.best.epoch == 5


def test_early_stopping_compares_epochs_after_the_delay_only() -> None:
    config = TrainConfig(epochs=6, early_stop_window=2)
    now, later = Course.of(PLAIN, config), Course.of(qat(delay_epochs=3), config)
    history = epochs(1, 1, 1, 9, 10, 8)
    assert now.should_end(history[:4], 1.0) and not later.should_end(history[:4], 1.0)
    assert not later.should_end(history[:5], 1.0) and not later.should_end(history, 1.0)
    assert later.should_end(epochs(1, 1, 1, 9, 10, 11), 1.0)


class Norms(nn.Module):
    """Two batch norms, a quantiser between them."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.linear = nn.BatchNorm1d(1), nn.BatchNorm1d(1), nn.Linear(1, 2)
        self.quantizer = two_bits()
        self.passed: list[Tensor] = []

    def forward(self, x: Tensor, graph: Graph) -> Tensor:
        middle = self.first(x)
        last = self.second(self.quantizer(middle))
        self.passed = [middle, last]
        return self.linear(last)


def test_estimated_norms_standardise_their_batch_in_evaluation() -> None:
    """The second one standardises what the first one gives, quantised with ranges that stay; to the last bit."""
    torch.manual_seed(0)
    model, batch = Norms(), replace(NODES, x=torch.randn(4, 1) * 7 + 3)
    model.train()(X, GRAPH)
    estimating = []
    model.register_forward_hook(lambda *_: estimating.append(model.passed))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    reestimate_norms(model, batch)
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    statistics = ("running_mean", "running_var")
    assert changed == {f"{norm}.{name}" for norm in ("first", "second") for name in statistics}
    assert not any(module.training for module in model.modules()) and model.first.momentum == 0.1
    model(batch.x, GRAPH)
    assert all(map(torch.equal, *estimating))
    for passed in model.passed:
        assert passed.mean().item() == pytest.approx(0.0, abs=1e-6)
        assert passed.var(correction=0).item() == pytest.approx(1.0, rel=1e-3)


def test_norms_are_estimated_before_each_validation() -> None:
    model, kept = Norms(), []
    model.first.register_forward_hook(lambda norm, *_: kept.append(norm.training))
    result = run(model, TrainConfig(epochs=2, lr=0.1), norm_batch=NODES)
    assert kept == [True, False, False] * 2
    assert torch.equal(result.state["first.running_mean"], X.mean(0))


def test_learned_steps_do_not_decay() -> None:
    model = nn.Sequential(
        nn.Linear(1, 1), Quantizer(LearnedScale(RangeObserver(QuantSpec(4))), UniformRounding(QuantSpec(4)))
    )
    own, steps = make_optimizer(model, PLAIN, TrainConfig(weight_decay=0.1)).param_groups
    assert (own["weight_decay"], len(own["params"])) == (0.1, 2)
    assert (steps["weight_decay"], steps["params"]) == (0.0, [model[1].scales.log_scale])
    assert len(make_optimizer(Line(), PLAIN, TrainConfig()).param_groups) == 1


def test_a_loss_that_is_not_finite_fails_the_trial() -> None:
    batch = Batch(GRAPH, torch.full((4, 1), float("nan")), NODES.y, NODES.index)
    with pytest.raises(TrialFailed, match="training loss is not finite in epoch 1, got nan"):
        run(Line(), TrainConfig(epochs=3), batch=batch)


def epochs(*losses: float) -> list[Epoch]:
    return [Epoch(i + 1, 0.0, loss, 0.5, 0.1, 0.0) for i, loss in enumerate(losses)]


def test_early_stopping_waits_for_half_the_epochs() -> None:
    course = Course.of(PLAIN, TrainConfig(epochs=8, early_stop_window=2))
    rising = epochs(1, 2, 3, 4, 5, 6)
    assert not course.should_end(rising[:4], 1.0)
    assert course.should_end(rising[:5], 1.0)
    assert not course.should_end(epochs(6, 5, 4, 3, 2, 1), 1.0)
    assert not Course.of(PLAIN, TrainConfig(epochs=8)).should_end(rising, 1.0)


def test_plateau_stops_below_the_smallest_rate() -> None:
    schedule = ScheduleConfig(name="plateau", factor=0.1, patience=0, min_lr=1e-4)
    flat = Batch(GRAPH, torch.zeros(4, 1), NODES.y, NODES.index)
    model = Line()
    nn.init.zeros_(model.linear.bias)  # balanced classes and no features: the loss stays where it is
    result = run(model, TrainConfig(epochs=100, lr=1e-3, schedule=schedule), batch=flat)
    assert len(result.history) < 100


def test_step_schedule() -> None:
    result = run(Line(), TrainConfig(epochs=4, lr=1.0, schedule=ScheduleConfig(name="step", factor=0.5, every=2)))
    assert [epoch.lr for epoch in result.history] == [1.0, 1.0, 0.5, 0.5]


def test_best_by_metric_respects_its_direction() -> None:
    low, high = Epoch(1, 0.0, 1.0, 0.2, 0.1, 0.0), Epoch(2, 0.0, 2.0, 0.9, 0.1, 0.0)
    assert is_better(high, low, CLASSES, "val_metric") and not is_better(low, high, CLASSES, "val_metric")
    assert is_better(low, high, Task("graph_regression"), "val_metric")
    assert is_better(low, high, CLASSES, "val_loss")


def test_regression_is_judged_by_absolute_error() -> None:
    task = Task("graph_regression")
    logits, y = torch.tensor([[1.0], [3.0]]), torch.tensor([2.0, 1.0])
    assert task.loss(logits, y).item() == pytest.approx(1.5)
    metric = task.new_metric()
    metric.update(logits, y)
    metric.update(logits[:1], y[:1])
    assert metric.compute() == pytest.approx(4.0 / 3)
    assert not task.higher_is_better and task.metric == "mae" and task.graph_level
