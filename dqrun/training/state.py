"""The history of a training, and all that its next epoch depends on: `Epoch`, `Fit`, `Training`, watchers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from dqrun.config import TrainConfig
from dqrun.methods import Method
from dqrun.training.adam import Adam
from dqrun.training.beginning import Beginning
from dqrun.training.course import Course
from dqrun.training.seeding import Streams

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
    """The result of training: its history and the state (parameters, buffers) of the epoch that validation chose."""

    history: list[Epoch] = field(default_factory=list)
    best: Epoch | None = None
    state: State = field(default_factory=dict)


@dataclass
class Training:
    """Everything that the next epoch depends on, apart from torch's global generators."""

    model: nn.Module
    method: Method
    course: Course
    streams: Streams
    optimizer: torch.optim.Optimizer
    scheduler: Scheduler | None
    result: Fit
    beginning: Beginning | None = None
    """Where it began, if one of its stages begins anew."""

    @classmethod
    def begin(cls, model: nn.Module, method: Method, course: Course, streams: Streams) -> Training:
        """A training before its first epoch."""
        optimizer = make_optimizer(model, method, course.train)
        scheduler = make_scheduler(optimizer, course.train)
        again = any(stage.anew is not None for stage in course.stages)
        beginning = Beginning.of(model, streams) if again else None
        return cls(model, method, course, streams, optimizer, scheduler, Fit(), beginning)

    def begin_anew(self, kept: Sequence[str]) -> None:
        """Returns to the initial state, except for the parameters and buffers that match globs of `kept`."""
        assert self.beginning is not None
        self.beginning.restore(self.model, self.streams, kept)

    def restart_optimizer(self, lr: float | None) -> None:
        """New averages of the gradients and a new schedule, from the rate `lr` (None: `train.lr`)."""
        self.optimizer = make_optimizer(self.model, self.method, self.course.train, lr)
        self.scheduler = make_scheduler(self.optimizer, self.course.train)


class Watcher:
    """Callbacks of a training; in this base class they do nothing."""

    earlier_seconds = 0.0
    """Time that epochs took in processes before this one."""
    end_state: bytes | None = None
    """The state at the end of training, where it is to be kept."""

    def restore(self, training: Training) -> None:
        """Called before the first epoch; may restore the state that an earlier process saved."""

    def report(self, epoch: Epoch) -> None:
        """Called after each epoch."""

    def keep(self, training: Training) -> None:
        """Called after each epoch; may save the state."""

    def end(self, training: Training) -> None:
        """Called after the last epoch; may save the state."""


@dataclass(frozen=True)
class Reporting(Watcher):
    """Another watcher combined with a function that is called after each epoch."""

    listener: Callable[[Epoch], None]
    watcher: Watcher

    def restore(self, training: Training) -> None:
        self.watcher.restore(training)

    def report(self, epoch: Epoch) -> None:
        self.listener(epoch)

    def keep(self, training: Training) -> None:
        self.watcher.keep(training)

    def end(self, training: Training) -> None:
        self.watcher.end(training)


def make_optimizer(
    model: nn.Module, method: Method, train: TrainConfig, lr: float | None = None
) -> torch.optim.Optimizer:
    """Adam over the method's groups of parameters. `lr`: None stands for `train.lr`."""
    groups = method.parameter_groups(model, train)
    return Adam(groups, lr=train.lr if lr is None else lr, weight_decay=train.weight_decay)


def make_scheduler(optimizer: torch.optim.Optimizer, train: TrainConfig) -> Scheduler | None:
    """The learning-rate schedule, or None for a constant rate."""
    schedule = train.schedule
    if schedule.name == "step":
        return torch.optim.lr_scheduler.StepLR(optimizer, schedule.every, schedule.factor)
    if schedule.name == "plateau":
        return torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=schedule.factor, patience=schedule.patience)
    return None
