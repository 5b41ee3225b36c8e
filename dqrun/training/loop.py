"""`fit` and `evaluate`: the training loop, readable from top to bottom."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Protocol

import torch
from torch import Tensor, nn

from dqrun.config import TrainConfig
from dqrun.errors import TrialFailed
from dqrun.graphs import Batch
from dqrun.methods.degree_quant import Protection
from dqrun.quant import Phase
from dqrun.quant.plan import set_phase, split_parameters
from dqrun.training.metrics import Collected, value_of
from dqrun.training.tasks import Task

State = dict[str, Tensor]
Scheduler = torch.optim.lr_scheduler.StepLR | torch.optim.lr_scheduler.ReduceLROnPlateau


@dataclass(frozen=True)
class Epoch:
    """One line of history.csv: `epoch` counts from 1; losses are means; `seconds` is training and validation."""

    epoch: int
    train_loss: float
    val_loss: float
    val_metric: float
    lr: float
    seconds: float


@dataclass
class Fit:
    """What training gave: its history and the state (parameters, buffers) of the epoch that validation chose."""

    history: list[Epoch] = field(default_factory=list)
    best: Epoch | None = None
    state: State = field(default_factory=dict)


@dataclass(frozen=True)
class Streams:
    """The random streams of one trial: batch order, protection and quantisation noise; apart, so that methods
    share the first."""

    shuffle: torch.Generator
    protection: torch.Generator
    noise: torch.Generator


@dataclass
class Training:
    """Everything that the next epoch depends on, apart from torch's global generators."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    scheduler: Scheduler | None
    streams: Streams
    result: Fit


class Keeper(Protocol):
    """What may put a training back to where one stopped, and is told after each epoch, and at the end, where it is."""

    def restore(self, training: Training) -> None: ...

    def keep(self, training: Training) -> None: ...

    def end(self, training: Training) -> None: ...


def fit(
    model: nn.Module,
    train_batches: Callable[[torch.Generator], Iterator[Batch]],
    val_batches: Callable[[], Iterable[Batch]],
    task: Task,
    config: TrainConfig,
    streams: Streams,
    protection: Protection | None = None,
    report: Callable[[Epoch], None] = lambda epoch: None,
    keeper: Keeper | None = None,
    delay_epochs: int = 0,
    observe_epochs: int = 0,
    norm_batch: Batch | None = None,
) -> Fit:
    """Trains with Adam and keeps the epoch with the best validation loss or metric; the first of equals.

    `delay_epochs`: so many epochs train and validate the exact network (Jacob et al. 2018, sec. 3.1). Their losses are
    another network's: none of these epochs is kept, stops the training or lowers the rate. Nothing is observed in them,
    for ranges of exact tensors are those of another network too: there no site has clipped its hubs for the next one.
    `observe_epochs`: in so many epochs after the delay steps that are to be learned are those of observed ranges.
    `norm_batch`: before each validation batch norms get the statistics of this batch (`reestimate_norms`).
    `keeper`: makes the training go on where an interrupted one stopped. Raises TrialFailed when a loss is not finite.
    """
    optimizer = make_optimizer(model, config)
    result = Fit()
    training = Training(model, optimizer, make_scheduler(optimizer, config), streams, result)
    if keeper is not None:
        keeper.restore(training)
    for number in range(len(result.history) + 1, config.epochs + 1):
        if should_end(training, config, delay_epochs):
            break
        delayed = number <= delay_epochs
        if delay_epochs or observe_epochs:
            observed = number <= delay_epochs + observe_epochs
            set_phase(model, Phase.BYPASS if delayed else Phase.OBSERVE if observed else Phase.QUANTIZE)
        started = time.perf_counter()
        train_loss = train_epoch(
            model, train_batches(streams.shuffle), task, optimizer, streams, protection, config.grad_clip
        )
        require_finite("training", train_loss, epoch=number)
        if norm_batch is not None:
            reestimate_norms(model, norm_batch)
        val_loss, val_metric = evaluate(model, val_batches(), task)
        require_finite("validation", val_loss, val_metric, number)
        lr = optimizer.param_groups[0]["lr"]
        epoch = Epoch(number, train_loss, val_loss, val_metric, lr, time.perf_counter() - started)
        result.history.append(epoch)
        if not delayed and (result.best is None or is_better(epoch, result.best, task, config.select)):
            result.best = epoch
            result.state = {name: value.detach().clone() for name, value in model.state_dict().items()}
        report(epoch)
        lower_rate(training, delayed)
        if keeper is not None:
            keeper.keep(training)
    if keeper is not None:
        keeper.end(training)
    return result


def make_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """Adam; weight decay draws parameters to zero, and a learned step, whose logarithm is trained, must not go to 1."""
    parameters, steps = split_parameters(model)
    optimizer = torch.optim.Adam(parameters, lr=config.lr, weight_decay=config.weight_decay)
    if steps:
        optimizer.add_param_group({"params": steps, "weight_decay": 0.0})
    return optimizer


def lower_rate(training: Training, delayed: bool) -> None:
    """Follows the schedule after an epoch; plateaus count after the delay."""
    scheduler = training.scheduler
    if isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
        if not delayed:
            scheduler.step(training.result.history[-1].val_loss)
    elif scheduler is not None:
        scheduler.step()


def should_end(training: Training, config: TrainConfig, delay_epochs: int) -> bool:
    """Whether training ends before its last epoch: its rate has fallen below the least one, or `should_stop`."""
    history = training.result.history
    plateau = isinstance(training.scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau)
    if plateau and len(history) > delay_epochs and training.optimizer.param_groups[0]["lr"] < config.schedule.min_lr:
        return True
    return should_stop(history, config, delay_epochs)


def train_epoch(
    model: nn.Module,
    batches: Iterable[Batch],
    task: Task,
    optimizer: torch.optim.Optimizer,
    streams: Streams,
    protection: Protection | None,
    grad_clip: float = 0.0,
) -> float:
    """One pass over the training data; returns the mean loss per example."""
    model.train()
    total, count = 0.0, 0
    for batch in batches:
        if protection is not None:
            batch = replace(batch, graph=protection.draw(batch.graph, streams.protection))
        loss, size = train_step(model, batch, task, optimizer, grad_clip)
        total, count = total + loss.item() * size, count + size
    return total / count if count else math.nan


def train_step(
    model: nn.Module, batch: Batch, task: Task, optimizer: torch.optim.Optimizer, grad_clip: float = 0.0
) -> tuple[Tensor, int]:
    """One step down the gradient of a batch; returns its mean loss, 0-d, and the number of terms of that mean."""
    logits, y = select(model(batch.x, batch.graph), batch)
    loss = task.loss(logits, y)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    if grad_clip:
        nn.utils.clip_grad_norm_(model.parameters(), grad_clip)
    optimizer.step()
    return loss.detach(), task.count(y)


@torch.no_grad()
def evaluate(
    model: nn.Module, batches: Iterable[Batch], task: Task, rows: Collected | None = None
) -> tuple[float, float]:
    """Mean loss and metric with everything quantised and nothing protected; `rows` gets all logits and targets."""
    model.eval()
    metric, total_loss, count = task.new_metric(), 0.0, 0
    for batch in batches:
        logits, y = select(model(batch.x, batch.graph), batch)
        size = task.count(y)
        total_loss += task.loss(logits, y).item() * size
        count += size
        metric.update(logits, y)
        if rows is not None:
            rows.update(logits, y)
    return total_loss / count if count else math.nan, value_of(task.metric, metric)


@torch.no_grad()
def calibrate(model: nn.Module, batches: Iterable[Batch]) -> None:
    """Lets all quantisers observe exact activations of the given batches, then sets them to quantise."""
    model.eval()
    set_phase(model, Phase.CALIBRATE)
    for batch in batches:
        model(batch.x, batch.graph)
    set_phase(model, Phase.QUANTIZE)


@torch.no_grad()
def reestimate_norms(model: nn.Module, batch: Batch) -> None:
    """Gives each batch norm the mean and the variance (divided by N) of its input when `batch` passes as in evaluation.

    Each norm takes its statistics before it normalises, so that the next one sees what evaluation will give it: a
    second pass of the same batch has the same bits.

    Running averages come from training, where preceding norms used the statistics of each batch. In evaluation they use
    fixed ones, and their outputs are a little different; at few bits that flips codes, layer after layer. Batch-norm
    re-estimation: Wu and Johnson 2021 (arXiv 2105.07576), Nagel et al., ICML 2022.
    """
    model.eval()
    norms = (module for module in model.modules() if isinstance(module, nn.BatchNorm1d))
    hooks = [norm.register_forward_pre_hook(_take_statistics) for norm in norms]
    try:
        model(batch.x, batch.graph)
    finally:
        for hook in hooks:
            hook.remove()


def _take_statistics(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    assert isinstance(norm.running_mean, Tensor) and isinstance(norm.running_var, Tensor)
    variance, mean = torch.var_mean(inputs[0], dim=0, correction=0)
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(variance)


def select(logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """The rows of logits and targets that count."""
    return (logits, batch.y) if batch.index is None else (logits[batch.index], batch.y[batch.index])


def is_better(new: Epoch, best: Epoch, task: Task, by: str) -> bool:
    """Whether an epoch beats the best so far; a tie in the metric is broken by the loss."""
    if by == "val_loss":
        return new.val_loss < best.val_loss
    sign = -1 if task.higher_is_better else 1
    return (sign * new.val_metric, new.val_loss) < (sign * best.val_metric, best.val_loss)


def should_stop(history: list[Epoch], config: TrainConfig, delay_epochs: int = 0) -> bool:
    """The early-stopping rule of PyG's citation benchmark: in the second half of the epochs, stop when the
    validation loss exceeds its mean over the `early_stop_window` epochs before, all of them after the delay."""
    window = config.early_stop_window
    if not window or len(history) <= max(delay_epochs + window, config.epochs // 2):
        return False
    previous = history[-window - 1 : -1]
    return history[-1].val_loss > sum(epoch.val_loss for epoch in previous) / window


def make_scheduler(optimizer: torch.optim.Optimizer, config: TrainConfig) -> Scheduler | None:
    """The learning-rate schedule, or None for a constant rate."""
    schedule = config.schedule
    if schedule.name == "step":
        return torch.optim.lr_scheduler.StepLR(optimizer, schedule.every, schedule.factor)
    if schedule.name == "plateau":
        return torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=schedule.factor, patience=schedule.patience)
    return None


def require_finite(part: str, loss: float, metric: float = 0.0, epoch: int | None = None) -> None:
    """Raises TrialFailed for a loss or metric that is infinite or undefined: the network gives no numbers to judge."""
    for name, value in (("loss", loss), ("metric", metric)):
        if not math.isfinite(value):
            where = "" if epoch is None else f" in epoch {epoch}"
            raise TrialFailed(f"{part} {name} is not finite{where}, got {value}")
