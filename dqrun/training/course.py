"""`Course`: the stages of a training and the epochs that belong to each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Protocol

from dqrun.config import TrainConfig
from dqrun.errors import ConfigError
from dqrun.methods import Method, Stage
from dqrun.quant import Phase


class Judged(Protocol):
    """The values of an epoch that a course reads."""

    @property
    def epoch(self) -> int:
        """Its number, from 1."""

    @property
    def val_loss(self) -> float:
        """Its validation loss."""


@dataclass(frozen=True)
class Course:
    """Settings and stages of one training, which may have no epochs at all.

    Raises ConfigError if there are epochs but none of them may be kept.
    """

    train: TrainConfig
    stages: tuple[Stage, ...]

    def __post_init__(self) -> None:
        for stage in self.stages:
            calibrates = stage.phase is Phase.CALIBRATE
            if stage.epochs < 0 or (calibrates and stage.epochs):
                rule = "be 0 in a stage that calibrates" if calibrates else "be >= 0"
                raise ConfigError.rule(f"epochs of the method's stage {stage.name!r}", rule, stage.epochs)
        if self.epochs and not any(stage.kept and stage.epochs for stage in self.stages):
            names = ", ".join(stage.name for stage in self.stages)
            raise ConfigError.rule("stages of the method", "have an epoch that may be kept", names)

    @classmethod
    def of(cls, method: Method, train: TrainConfig) -> Course:
        """The course that a method gives a training."""
        return cls(train, tuple(method.stages(train)))

    @property
    def epochs(self) -> int:
        """Epochs of all stages."""
        return sum(stage.epochs for stage in self.stages)

    def stage(self, epoch: int) -> Stage:
        """The stage of an epoch, from 1."""
        ends = accumulate(stage.epochs for stage in self.stages)
        return next(stage for stage, end in zip(self.stages, ends, strict=True) if epoch <= end)

    @property
    def searched(self) -> int:
        """Number of epochs before the last stage that begins anew, the cost of a search; 0 without one."""
        starts = [i for i, stage in enumerate(self.stages) if stage.anew is not None]
        return sum(stage.epochs for stage in self.stages[: starts[-1]]) if starts else 0

    def begins(self, epoch: int) -> bool:
        """Whether an epoch is the first of its stage."""
        return epoch == 1 or self.stage(epoch) is not self.stage(epoch - 1)

    def calibrates_before(self, epoch: int) -> bool:
        """Whether a calibration stage comes directly before an epoch; `epochs + 1` asks about the end."""
        ends = accumulate(stage.epochs for stage in self.stages)
        return any(
            stage.phase is Phase.CALIBRATE and end == epoch - 1 for stage, end in zip(self.stages, ends, strict=True)
        )

    def should_end(self, history: Sequence[Judged], lr: float) -> bool:
        """Whether training ends before its last epoch: the rate has fallen below the least one, or the early-stopping
        rule of PyG's citation benchmark holds.

        By that rule training stops in the second half of the epochs when the validation loss exceeds its mean over the
        preceding `early_stop_window` epochs. Only epochs that may be kept count; epochs of a search do not.
        """
        if not history or not self.stage(history[-1].epoch).kept:
            return False
        schedule, window = self.train.schedule, self.train.early_stop_window
        if schedule.name == "plateau" and lr < schedule.min_lr:
            return True
        trained = len(history) - self.searched
        if not window or trained <= max(window, (self.epochs - self.searched) // 2):
            return False
        *previous, last = history[-window - 1 :]
        comparable = all(self.stage(epoch.epoch).kept for epoch in previous)
        return comparable and last.val_loss > sum(epoch.val_loss for epoch in previous) / window

    def rehearsal(self) -> Course:
        """The same stages with at most one epoch each."""
        return replace(self, stages=tuple(replace(stage, epochs=min(stage.epochs, 1)) for stage in self.stages))

    def extends(self, shorter: Course) -> bool:
        """Whether the epochs of a shorter course are the first ones of this one: only the last stage is longer."""
        if len(self.stages) != len(shorter.stages) or self.epochs <= shorter.epochs:
            return False
        passing = [i for i, stage in enumerate(self.stages) if stage.phase is not Phase.CALIBRATE]
        last = passing[-1]
        stages = [*self.stages]
        stages[last] = replace(stages[last], epochs=shorter.stages[last].epochs)
        return tuple(stages) == shorter.stages
