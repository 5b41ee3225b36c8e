"""Trials, training and evaluation."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

from dqrun.config.rules import LARGEST_SEED, doc, require, require_in, require_one_of

SCHEDULES = ("none", "step", "plateau")
STARTS = ("none", "fp32")
COMPRESSIONS = {"none": None, "int8": 8}
"""Bits of the gradients that processes exchange; None: as they are."""
MOST_TRIALS = 100_000


@dataclass
class ProtocolConfig:
    """Which trials make one number (`protocol.*`)."""

    name: str = doc("seeds (same split, other seeds) or kfold (stratified folds)")
    trials: int = doc(f"name=seeds: number of trials, 1..{MOST_TRIALS}", 1)
    first_seed: int = doc("seed of the first trial, 0..2^32 - 1; kfold uses it for each fold", 0)
    num_folds: int = doc(f"name=kfold: number of folds, 3..{MOST_TRIALS}", 10)
    folds: list[int] | None = doc("name=kfold: the folds to run; null: all", None)
    split_seed: int = doc("seed of the folds or of a random split, 0..2^32 - 1", 12345)

    def validate(self) -> None:
        require_one_of("protocol.name", self.name, ("seeds", "kfold"))
        require_in("protocol.trials", self.trials, 1, MOST_TRIALS)
        require_in("protocol.first_seed", self.first_seed, 0, LARGEST_SEED)
        require_in("protocol.num_folds", self.num_folds, 3, MOST_TRIALS)
        require_in("protocol.split_seed", self.split_seed, 0, LARGEST_SEED)
        if self.folds is not None:
            inside = bool(self.folds) and all(0 <= fold < self.num_folds for fold in self.folds)
            require(inside, "protocol.folds", f"list folds in 0..{self.num_folds - 1}", self.folds)
            require(len(set(self.folds)) == len(self.folds), "protocol.folds", "name each fold once", self.folds)


@dataclass
class ScheduleConfig:
    """How the learning rate falls (`train.schedule.*`)."""

    name: str = doc(f"one of {', '.join(SCHEDULES)}; plateau watches the validation loss", "none")
    factor: float = doc("the rate is multiplied by it, (0, 1)", 0.5)
    every: int = doc("name=step: epochs between two falls, >= 1", 50)
    patience: int = doc("name=plateau: epochs without improvement before a fall, >= 0", 10)
    min_lr: float = doc("name=plateau: training stops below this rate, >= 0", 1e-5)

    def validate(self) -> None:
        require_one_of("train.schedule.name", self.name, SCHEDULES)
        require(0 < self.factor < 1, "train.schedule.factor", "be in (0, 1)", self.factor)
        require(self.every >= 1, "train.schedule.every", "be >= 1", self.every)
        require(self.patience >= 0, "train.schedule.patience", "be >= 0", self.patience)
        require(self.min_lr >= 0, "train.schedule.min_lr", "be >= 0", self.min_lr)


@dataclass
class FineTuneConfig:
    """Values of `train` after a warm start (`train.fine_tune.*`); the FP32 trial has the values of `train`."""

    epochs: int | None = doc("largest number of epochs, >= 1; null: train.epochs", None)
    lr: float | None = doc("learning rate, > 0; null: train.lr", None)
    weight_decay: float | None = doc("L2 penalty, >= 0; null: train.weight_decay", None)

    @property
    def changes(self) -> dict[str, Any]:
        """The fields of `train` that are given, by name."""
        return {name: value for name, value in vars(self).items() if value is not None}


@dataclass
class TrainConfig:
    """How the network is trained (`train.*`)."""

    epochs: int = doc("largest number of epochs, >= 1", 100)
    batch_size: int = doc("graphs per step, >= 1; node tasks use the whole graph", 128)
    lr: float = doc("learning rate of Adam, > 0", 1e-3)
    weight_decay: float = doc("L2 penalty of Adam, >= 0", 0.0)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig, metadata={"doc": "of the learning rate"})
    early_stop_window: int = doc(
        "stop when the validation loss exceeds its mean over this many previous epochs, in the second half; 0: never", 0
    )
    select: str = doc("the epoch that is kept has the best: val_loss, val_metric", "val_loss")
    grad_clip: float = doc("largest norm of the gradient, >= 0; 0: no clipping", 0.0)
    bn_reestimation: int = doc(
        "batch norm in evaluation uses 0: averages over training batches; N >= 2: statistics of N training graphs, "
        "drawn from the seed, estimated again before each validation, everything quantised",
        0,
    )
    checkpoint_minutes: float = doc(
        "a trial that is interrupted loses at most this many minutes of training, >= 0; 0: no checkpoints", 5.0
    )
    keep_state: bool = doc(
        "keep the state of training at its end in the run's folder (some three times the network), from which more "
        "epochs can go on",
        False,
    )
    continue_from: str | None = doc(
        "run folder that kept its state: training goes on from there and gives the bits of one that began anew; all "
        "else but the number of epochs must be the same; null: begin anew",
        None,
    )
    warm_start: str = doc(
        "where a quantised trial's parameters begin: none (drawn from the seed), fp32 (those of the FP32 trial of the "
        "same dataset, model, training settings, seed and fold, which is run first unless its run is there)",
        "none",
    )
    compress_gradients: str = doc(
        "processes > 1: how gradients travel between them: none (float32), int8 (codes rounded at random, a scale for "
        "each 256)",
        "none",
    )
    fine_tune: FineTuneConfig = field(
        default_factory=FineTuneConfig,
        metadata={
            "doc": "warm_start=fp32: training settings of the quantised trial, where they are not the FP32 one's"
        },
    )

    def validate(self) -> None:
        self._validate_steps("train")
        require(self.batch_size >= 1, "train.batch_size", "be >= 1", self.batch_size)
        require(self.early_stop_window >= 0, "train.early_stop_window", "be >= 0", self.early_stop_window)
        require(self.grad_clip >= 0, "train.grad_clip", "be >= 0", self.grad_clip)
        require(
            self.bn_reestimation == 0 or self.bn_reestimation >= 2,
            "train.bn_reestimation",
            "be 0 or >= 2",
            self.bn_reestimation,
        )
        require(self.checkpoint_minutes >= 0, "train.checkpoint_minutes", "be >= 0", self.checkpoint_minutes)
        require_one_of("train.select", self.select, ("val_loss", "val_metric"))
        require_one_of("train.compress_gradients", self.compress_gradients, tuple(COMPRESSIONS))
        self.schedule.validate()
        require_one_of("train.warm_start", self.warm_start, STARTS)
        replace(self, **self.fine_tune.changes)._validate_steps("train.fine_tune")

    @property
    def compressed_bits(self) -> int | None:
        """Bits of the gradients that processes exchange; None: as they are."""
        return COMPRESSIONS[self.compress_gradients]

    def _validate_steps(self, name: str) -> None:
        """The rules of the fields of `fine_tune`."""
        require(self.epochs >= 1, f"{name}.epochs", "be >= 1", self.epochs)
        require(0 < self.lr < math.inf, f"{name}.lr", "be > 0 and finite", self.lr)
        require(0 <= self.weight_decay < math.inf, f"{name}.weight_decay", "be >= 0 and finite", self.weight_decay)


@dataclass
class EvaluateConfig:
    """How a trained network is judged (`evaluate.*`)."""

    engine: str = doc(
        "float (the fake-quantised network) or integer (on the test data its integer program as well; "
        "needs plan=integer)",
        "float",
    )
