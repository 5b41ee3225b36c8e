"""A training step of several processes against the step of one."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from rank_threads import together
from torch import Tensor, nn

from dqrun import kernels
from dqrun.composition.compose import load_configs
from dqrun.data.dataset import load_dataset
from dqrun.data.splits import split_for
from dqrun.data.trial_data import TrialData
from dqrun.methods import make_method
from dqrun.nn.build import uses_self_loops
from dqrun.quant.site import parts_with_ranks
from dqrun.ranks.alone import ALONE, Ranks
from dqrun.ranks.compression import decode, encode
from dqrun.ranks.group import Group
from dqrun.runs.model_file import Shapes
from dqrun.runs.protocol import trials
from dqrun.training.course import Course
from dqrun.training.loop import begin_epoch, evaluate, select, train_step
from dqrun.training.problem import Problem
from dqrun.training.state import Training
from dqrun.training.tasks import Task
from dqrun.training.trial import make_network

SMALL = [
    *("dataset=threads", "dataset.graphs=20", "model.hidden=8", "model.layers=2", "train.batch_size=11"),
    *("model.head_dropout=0", "protocol.trials=1", "threads=1"),  # threads share torch's generator, processes do not
]
EXACT = ["method=naive", "method=dq", "method=dq method.protection.per_layer=true", "method=noisy", "method=lsq"]


def training_of(words: str) -> tuple[Training, TrialData, Task]:
    (config,) = load_configs([*SMALL, *words.split()])
    trial, dataset = trials(config.protocol)[0], load_dataset(config.dataset, config.data)
    split = split_for(dataset, config.protocol, trial.fold)
    loops = uses_self_loops(config.model)
    data = TrialData.build(dataset, split, config.dataset, config.train.batch_size, loops)
    torch.manual_seed(0)
    streams, model = make_network(config, trial, Shapes(**data.shapes))
    method = make_method(config, model.num_layers)
    course = Course.of(method, config.own_train)
    return Training.begin(model, method, course, streams), data, Task.of(config.dataset)


def stepped(made: tuple[Training, TrialData, Task], ranks: Ranks) -> tuple[float, float, dict[str, Tensor]]:
    """The loss of the first step, that of validation after it, the network's state and its gradients."""
    training, data, task = made
    problem = Problem.of(data, task, ranks=ranks)
    begin_epoch(training, problem, 1, 1)
    training.model.train()
    with ranks.step(lambda: parts_with_ranks(training.model)):
        batch = next(iter(problem.shuffled(training.streams.shuffle)))
        loss, size = train_step(training, batch, task, ranks)
    mean = ranks.total(float(loss) * size) / ranks.total(size)
    judged, _ = evaluate(training.model, problem.val(), task, ranks=ranks)
    slopes = {f"{name}.grad": each.grad for name, each in training.model.named_parameters() if each.grad is not None}
    return mean, judged, training.model.state_dict() | slopes


def check(words: str, size: int, tolerance: float) -> None:
    one = stepped(training_of(words), ALONE)
    networks = [training_of(words) for _ in range(size)]
    several = together(size, lambda group: stepped(networks[group.rank], group))
    parameters = {name for name, _ in networks[0][0].model.named_parameters()}
    for mean, judged, state in several:
        assert (mean, judged) == pytest.approx(one[:2], rel=tolerance)
        for name, value in state.items():
            assert torch.equal(value, several[0][2][name]) or value.isnan().all(), name
            if name not in parameters and value.is_floating_point():  # Adam makes much of gradients that are rounding
                torch.testing.assert_close(value, one[2][name], rtol=tolerance, atol=tolerance, equal_nan=True)


@pytest.mark.parametrize("model", ["gcn model.norm=none", "gin model.norm=batch", "gat model.norm=none"])
def test_fp32_steps_agree(model: str) -> None:
    check(f"quant=fp32 model={model}", 3, 2e-4)


def gradients(made: tuple[Training, TrialData, Task], ranks: Ranks) -> dict[str, Tensor]:
    """Of the first batch, in float64."""
    training, data, task = made
    problem, model = Problem.of(data, task, ranks=ranks), training.model.double().train()
    begin_epoch(training, problem, 1, 1)
    with ranks.step(lambda: parts_with_ranks(model)):
        batch = next(iter(problem.shuffled(training.streams.shuffle)))
        logits, y = select(model(batch.x.double(), batch.graph), batch)
        ranks.weighted(task.loss(logits, y), task.count(y)).backward()
        ranks.share_gradients(model.parameters(), None, training.streams.gradients)
    return {name: each.grad for name, each in model.named_parameters() if each.grad is not None}


def test_gradients_agree_in_float64() -> None:
    """Float32 hides errors: a ReLU at a number that is 0 but for rounding changes gradients by several per cent."""
    words = "quant=fp32 model=gin model.norm=batch"
    one, networks = gradients(training_of(words), ALONE), [training_of(words) for _ in range(3)]
    for found in together(3, lambda group: gradients(networks[group.rank], group)):
        assert found.keys() == one.keys()
        for name, value in one.items():
            torch.testing.assert_close(found[name], value, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("method", EXACT)
def test_quantised_steps_agree(method: str) -> None:
    """Without batch norm nothing before the gradient depends on the order of sums: ranges and masks are the same."""
    check(f"quant=int4 model=gcn model.norm=none {method}", 2, 2e-3)


def test_protected_nodes_are_those_of_one_process() -> None:
    words = "quant=int4 model=gin method=dq method.protection.per_layer=true train.batch_size=5"

    def masks(ranks: Ranks) -> list[Tensor]:
        training, data, task = made[ranks.rank]
        batches = Problem.of(data, task, ranks=ranks).shuffled(training.streams.shuffle)
        with ranks.step(list):
            drawn = [training.method.before_batch(batch, training.streams).graph for batch in batches]
        return [each.protection_masks for each in drawn]

    made = [training_of(words) for _ in range(2)]
    parts = together(2, masks)
    made = [training_of(words)]
    alone = masks(ALONE)
    assert len(alone) > 1 and all(each.any() for each in alone)
    for i, whole in enumerate(alone):
        assert torch.equal(torch.cat([part[i] for part in parts], 1), whole)


def test_a_process_may_have_no_graph_of_a_batch() -> None:
    check("quant=int8 model=gin model.norm=batch method=dq train.batch_size=2", 3, 5e-3)


def test_dropout_of_rows_is_that_of_the_whole_batch() -> None:
    x = torch.arange(1.0, 61).view(20, 3)

    def work(group: Group) -> tuple[Tensor, Tensor]:
        own = group.share.of(x)
        with group.step(list):
            first, total = kernels.place_of(own.numel())
            mask = kernels.dense_ops.dropout(own, 0.5, torch.tensor([7 + first, 9]))
            assert total == x.numel()
            return mask, kernels.place_of(len(own))

    parts = together(3, work)
    assert torch.equal(torch.cat([part for part, _ in parts]), kernels.dense_ops.dropout(x, 0.5, torch.tensor([7, 9])))
    assert [place for _, place in parts] == [(0, 20), (6, 20), (13, 20)]


def test_batch_norm_of_parts_is_that_of_the_whole_batch() -> None:
    x, grad = torch.randn(2, 23, 4, generator=torch.Generator().manual_seed(1)).unbind()

    def work(group: Any) -> tuple[Tensor, ...]:
        norm, own = nn.BatchNorm1d(4), group.share.of(x).clone().requires_grad_()
        with group.step(list):
            y = norm(own)
        y.backward(group.share.of(grad))
        group.share_gradients(norm.parameters(), None, torch.Generator())
        return y, own.grad, norm.weight.grad, norm.running_mean, norm.running_var

    found = list(zip(*together(3, work), strict=True))
    norm, whole = nn.BatchNorm1d(4), x.clone().requires_grad_()
    y = norm(whole)
    y.backward(grad)
    expected = y, whole.grad, norm.weight.grad, norm.running_mean, norm.running_var
    for i, (parts, value) in enumerate(zip(found, expected, strict=True)):
        for joined in [torch.cat(parts)] if i < 2 else parts:
            torch.testing.assert_close(joined, value, rtol=1e-5, atol=1e-6)


def test_codes_of_gradients_have_no_bias() -> None:
    x = torch.randn(300, generator=torch.Generator().manual_seed(3))
    generator = torch.Generator().manual_seed(4)
    rounded = torch.stack([decode(*encode(x, 8, generator))[:300] for _ in range(2000)])
    step = F.pad(x, (0, 212)).view(2, 256).abs().amax(1).repeat_interleave(256)[:300] / 127
    assert ((rounded - x).abs() <= step * 1.0001).all()
    assert ((rounded.mean(0) - x).abs() < step * 0.06).all()  # five standard errors


def test_gradients_travel_as_codes() -> None:
    gradients = torch.randn(2, 40, generator=torch.Generator().manual_seed(5))

    def work(group: Any) -> Tensor:
        parameter = nn.Parameter(torch.zeros(40))
        parameter.grad = gradients[group.rank].clone()
        group.share_gradients([parameter], 8, torch.Generator().manual_seed(6))
        return parameter.grad

    one, other = together(2, work)
    assert torch.equal(one, other) and not torch.equal(one, gradients.sum(0))
    assert (one - gradients.sum(0)).abs().max() < 2 * gradients.abs().max() / 127
