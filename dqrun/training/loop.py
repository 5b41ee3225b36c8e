"""`fit` and `evaluate`: the training loop, readable from top to bottom."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from typing import TypeVar

import torch
from torch import Tensor, nn

from dqrun.errors import ConfigError, TrialFailed
from dqrun.graphs import Batch
from dqrun.methods import Method
from dqrun.quant import Phase
from dqrun.quant.plan import set_phase
from dqrun.quant.point import matches
from dqrun.quant.site import parts_with_ranks
from dqrun.ranks.alone import ALONE, Ranks
from dqrun.training.course import Course
from dqrun.training.in_blocks import outputs
from dqrun.training.metrics import Collected, value_of
from dqrun.training.passes import calibrate, reestimate_norms
from dqrun.training.problem import Problem
from dqrun.training.seeding import Streams
from dqrun.training.snapshot import put, snapshot
from dqrun.training.state import Epoch, Fit, Training, Watcher
from dqrun.training.tasks import Task

T = TypeVar("T")


def fit(model: nn.Module, method: Method, problem: Problem, course: Course, streams: Streams, watcher: Watcher) -> Fit:
    """Trains with Adam and leaves the network in its state after the best epoch, the first of equals.

    A course without epochs leaves the parameters as they are. The stages of `course` define what quantisers do in each
    epoch and which epochs may be kept. `watcher` may restore the state of an interrupted training. Raises TrialFailed
    if a loss is not finite.
    """
    training = Training.begin(model, method, course, streams)
    method.before_training(model)
    result = training.result
    watcher.restore(training)
    problem.ranks.agreed(lambda: snapshot(training), lambda kept: put(training, kept))
    first = len(result.history) + 1
    for number in range(first, course.epochs + 1):
        if course.should_end(result.history, training.optimizer.param_groups[0]["lr"]):
            break
        begin_epoch(training, problem, number, first)
        started = time.perf_counter()
        train_loss = train_epoch(training, problem)
        require_finite("training", train_loss, epoch=number)
        if problem.norm_batch is not None:
            reestimate_norms(model, problem.norm_batch)
        val_loss, val_metric = evaluate(model, problem.val(), problem.task, ranks=problem.ranks)
        require_finite("validation", val_loss, val_metric, number)
        lr = training.optimizer.param_groups[0]["lr"]
        epoch = Epoch(number, train_loss, val_loss, val_metric, lr, time.perf_counter() - started)
        add(epoch, training, problem.task)
        watcher.report(epoch)
        lower_rate(training)
        watcher.keep(training)
    watcher.end(training)
    if course.epochs:
        model.load_state_dict(result.state)
    set_phase(model, Phase.QUANTIZE)
    if course.calibrates_before(course.epochs + 1):
        calibrate(model, problem, method.calibration_data(model, problem))
    method.after_training(model, problem)
    return result


def begin_epoch(training: Training, problem: Problem, number: int, first: int) -> None:
    """Sets network and optimiser as the epoch's stage requires. `first`: the first epoch of this process."""
    course, model = training.course, training.model
    stage = course.stage(number)
    if course.calibrates_before(number):
        calibrate(model, problem, training.method.calibration_data(model, problem))
    if course.begins(number) or number == first:
        set_phase(model, stage.phase)
        if any(other.trained is not None for other in course.stages):
            for name, parameter in model.named_parameters():
                parameter.requires_grad_(stage.trained is None or any(matches(name, glob) for glob in stage.trained))
    training.method.before_epoch(model, number, stage)
    if course.begins(number) and stage.anew is not None:
        training.begin_anew(stage.anew)
    if course.begins(number) and (stage.restarts or stage.anew is not None):
        training.restart_optimizer(stage.lr)


def train_epoch(training: Training, problem: Problem) -> float:
    """One pass over the training data; returns the mean loss per example."""
    training.model.train()
    total, count = 0.0, 0
    ranks = problem.ranks
    with ranks.step(lambda: parts_with_ranks(training.model)):
        for batch in problem.shuffled(training.streams.shuffle):
            loss, size = train_step(training, batch, problem.task, ranks)
            total, count = total + loss.item() * size, count + size
    total, count = ranks.total(total), int(ranks.total(count))
    return total / count if count else math.nan


def train_step(training: Training, batch: Batch, task: Task, ranks: Ranks = ALONE) -> tuple[Tensor, int]:
    """One optimiser step on a batch; returns its mean loss, 0-d, and the number of terms of that mean.

    `ranks`: the processes that share the batch; their losses are weighted by their numbers of terms.
    """
    model, method, train = training.model, training.method, training.course.train
    batch = required(method, "before_batch", Batch, method.before_batch(batch, training.streams))
    rows = model(batch.x, batch.graph)
    logits, y = select(rows, batch)
    size = task.count(y)
    loss = task.loss(logits, y) if size else logits.sum() * 0.0
    for hook, added in (("penalty", method.penalty(model)), ("guidance", method.guidance(batch, rows))):
        if added is not None:
            loss = loss + required(method, hook, Tensor, added)
    training.optimizer.zero_grad()
    ranks.weighted(loss, size).backward()  # type: ignore[no-untyped-call]
    ranks.share_gradients(model.parameters(), train.compressed_bits, training.streams.gradients)
    if train.grad_clip:
        nn.utils.clip_grad_norm_(model.parameters(), train.grad_clip)
    training.optimizer.step()
    return loss.detach(), size


def required(method: Method, hook: str, kind: type[T], given: T) -> T:
    """Returns `given`, the result of a hook; raises ConfigError if it is no `kind`, or a tensor of several elements."""
    if not isinstance(given, kind) or (isinstance(given, Tensor) and given.numel() != 1):
        wanted = "one number as a tensor, 0-d, or None" if kind is Tensor else f"a {kind.__name__}"
        got = list(given.shape) if isinstance(given, Tensor) else given
        raise ConfigError.rule(f"hook {hook} of {type(method).__name__}", f"give {wanted}", got)
    return given


@torch.no_grad()
def evaluate(
    model: nn.Module, batches: Iterable[Batch], task: Task, rows: Collected | None = None, ranks: Ranks = ALONE
) -> tuple[float, float]:
    """Mean loss and metric in evaluation mode, where no node is protected; `rows` collects all logits and targets.

    `ranks`: the processes that share the batches; each process adds up all results, in the order of the batches.
    """
    model.eval()
    metric, total_loss, count = task.new_metric(), 0.0, 0
    for logits, y in ranks.results(batches, lambda batch: select(outputs(model, batch), batch), targets):
        size = task.count(y)
        total_loss += task.loss(logits, y).item() * size
        count += size
        metric.update(logits, y)
        if rows is not None:
            rows.update(logits, y)
    return total_loss / count if count else math.nan, value_of(task.metric, metric)


def select(logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """The rows of logits [N, C] and targets [N] that the batch's mask selects; all rows without a mask."""
    return logits if batch.index is None else logits[batch.index], targets(batch)


def targets(batch: Batch) -> Tensor:
    """The targets that the batch's mask selects."""
    return batch.y if batch.index is None else batch.y[batch.index]


def add(epoch: Epoch, training: Training, task: Task) -> None:
    """Adds an epoch to the history; if it may be kept and is the best so far, keeps the network's state."""
    result, course = training.result, training.course
    result.history.append(epoch)
    better = result.best is None or is_better(epoch, result.best, task, course.train.select)
    if course.stage(epoch.epoch).kept and better:
        result.best = epoch
        result.state = {name: value.detach().clone() for name, value in training.model.state_dict().items()}


def is_better(new: Epoch, best: Epoch, task: Task, by: str) -> bool:
    """Whether an epoch beats the best so far; a tie in the metric is broken by the loss."""
    if by == "val_loss":
        return new.val_loss < best.val_loss
    sign = -1 if task.higher_is_better else 1
    return (sign * new.val_metric, new.val_loss) < (sign * best.val_metric, best.val_loss)


def lower_rate(training: Training) -> None:
    """Steps the learning-rate schedule after an epoch; "plateau" counts only epochs that may be kept."""
    scheduler, last = training.scheduler, training.result.history[-1]
    if isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
        if training.course.stage(last.epoch).kept:
            scheduler.step(last.val_loss)
    elif scheduler is not None:
        scheduler.step()


def require_finite(part: str, loss: float, metric: float = 0.0, epoch: int | None = None) -> None:
    """Raises TrialFailed for a loss or metric that is infinite or NaN."""
    for name, value in (("loss", loss), ("metric", metric)):
        if not math.isfinite(value):
            where = "" if epoch is None else f" in epoch {epoch}"
            raise TrialFailed(f"{part} {name} is not finite{where}, got {value}")
