"""Metrics: each takes the logits and targets of all batches of a part, and gives one number.

`Accuracy` and `MeanAbsoluteError` only add up sums and are computed in every epoch. Metrics that every classification
trial records are in `confusion.py` and `curves.py`, because importing torchmetrics takes longer than many trainings;
tests compare both with torchmetrics bit for bit. torchmetrics computes the rest.

A metric that is registered (`register.metric`) is one of

* a function of (logits, targets) that gives a number: it gets the rows of all batches at once;
* a class without arguments that has `update(logits, targets)` and `compute()`, as `torchmetrics.Metric` has.

Logits: float32 [n, C] for C classes, [n, L] for L labels, [n, 1] for regression. Targets: int64 [n] classes; float32
[n, L] with 0, 1 and nan (unknown) for labels; float32 [n] for regression. A metric that is not defined for its targets
(ROC-AUC where one class is missing) is nan.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

from dqrun import register
from dqrun.config.tasks import LOWER_IS_BETTER, METRIC_COLUMNS
from dqrun.errors import ConfigError, TrialFailed
from dqrun.plugins import place_in_plugin
from dqrun.training import confusion, curves

Function = Callable[[Tensor, Tensor], Any]


class Metric(Protocol):
    """What the training loop needs of a metric: `update` for each batch, then `compute`."""

    def update(self, logits: Tensor, y: Tensor, /) -> None: ...

    def compute(self) -> Any: ...


def make_metric(name: str) -> Metric:
    """A new metric without data; raises ConfigError for an unknown name."""
    found = register.metric.get(name)
    return found() if isinstance(found, type) else Collected(found)


def higher_is_better(name: str) -> bool:
    """Whether larger values are better; raises ConfigError for an unknown name, and for a metric without direction."""
    if name in METRIC_COLUMNS:
        return name not in LOWER_IS_BETTER
    direction = getattr(register.metric.get(name), "higher_is_better", None)
    if not isinstance(direction, bool):
        rule = "be a metric that says its direction: register.metric(name, higher_is_better=True or False)"
        raise ConfigError.rule("dataset.metric", rule, name)
    return direction


def value_of(name: str, metric: Metric) -> float:
    """The value of a metric; raises TrialFailed if it cannot be computed or is no number."""
    try:
        value = metric.compute()
    except Exception as error:
        if name not in register.metric.added():
            raise
        reason = " ".join(f"{type(error).__name__}: {error}".split())  # whatever the user's code raises
        rule = f"dataset.metric={name} must give one number, it raised {reason}"
        raise TrialFailed(f"{rule}{place_in_plugin(error)}") from error
    try:
        return float(None if isinstance(value, str | bytes) else value)  # type: ignore[arg-type]
    except (TypeError, ValueError, RuntimeError):
        shown = f"a tensor {list(value.shape)}" if isinstance(value, Tensor) else str(value)[:60]
        raise TrialFailed(f"dataset.metric={name} must give one number, got {shown}") from None


class Accuracy:
    """Share of the rows whose class has the largest logit; with labels the share of the known labels that are right.

    Batches are added in float64, each as a sum in float32.
    """

    def __init__(self) -> None:
        self.total, self.count = 0.0, 0

    def update(self, logits: Tensor, y: Tensor, /) -> None:
        if y.is_floating_point():
            hits, size = ((logits > 0) == (y > 0.5))[~y.isnan()], int((~y.isnan()).sum())
        else:
            hits, size = logits.argmax(-1) == y, y.size(0)
        self.total += hits.sum().to(logits.dtype).item()
        self.count += size

    def compute(self) -> float:
        return self.total / self.count if self.count else math.nan


class MeanAbsoluteError:
    """Mean of |prediction - target|, in the target's unit; added as `Accuracy` is."""

    def __init__(self) -> None:
        self.total, self.count = 0.0, 0

    def update(self, logits: Tensor, y: Tensor, /) -> None:
        self.total += (logits.squeeze(-1) - y).abs().sum().item()
        self.count += y.size(0)

    def compute(self) -> float:
        return self.total / self.count if self.count else math.nan


class Collected:
    """Keeps all rows and calls a function of them, so that the result does not depend on the batches."""

    def __init__(self, function: Function = lambda logits, y: None) -> None:
        self.function = function
        self.rows: list[tuple[Tensor, Tensor]] = []

    def update(self, logits: Tensor, y: Tensor, /) -> None:
        self.rows.append((logits.detach(), y))

    def all_rows(self) -> tuple[Tensor, Tensor]:
        """Logits and targets of all rows so far, concatenated."""
        logits, targets = zip(*self.rows, strict=True)
        return torch.cat(logits), torch.cat(targets)

    def compute(self) -> Any:
        return self.function(*self.all_rows())


def balanced_accuracy(logits: Tensor, y: Tensor) -> float:
    """Mean recall over the classes that occur in the targets."""
    counts = confusion.of_classes(logits, y)
    return float(counts.recall()[counts.right + counts.missed > 0].double().mean())


def f1_macro(logits: Tensor, y: Tensor) -> float:
    """Mean F1 over the classes that occur or are predicted; over all labels where there are labels."""
    if y.is_floating_point():
        scores = confusion.of_labels(logits, y).f1()
        return confusion.mean_over(scores, torch.ones_like(scores))
    counts = confusion.of_classes(logits, y)
    return confusion.mean_over(counts.f1(), counts.occurs())


def f1_micro(logits: Tensor, y: Tensor) -> float:
    """F1 of all predictions together; with one class per row it is the accuracy."""
    count = confusion.of_labels if y.is_floating_point() else confusion.of_classes
    return float(count(logits, y).total().f1())


def roc_auc(logits: Tensor, y: Tensor) -> float:
    """Area under the ROC curve; the mean over labels, or over classes against the rest where there are more than two.

    Labels and classes without positive or without negative targets do not count (as in OGB).
    """
    return _mean_over_columns(logits, y, curves.area_under_roc)


def average_precision(logits: Tensor, y: Tensor) -> float:
    """Area under the precision-recall curve (a sum of steps); columns as in `roc_auc`."""
    return _mean_over_columns(logits, y, curves.average_precision)


def _mean_over_columns(logits: Tensor, y: Tensor, function: Function) -> float:
    """Mean of a function of scores in 0..1 and members (0 or 1), over the columns that have both."""
    values = []
    for scores, members in zip(*_columns(logits.double(), y), strict=True):
        known = ~members.isnan()
        is_member = (members[known] > 0.5).long()
        if 0 < int(is_member.sum()) < is_member.numel():
            values.append(function(scores[known], is_member))
    return sum(values) / len(values) if values else math.nan


def _columns(logits: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Probabilities and members, float64 [K, n]: of each label; of each class; of class 1 where there are two."""
    if y.is_floating_point():
        return logits.sigmoid().t(), y.double().t()
    if logits.size(1) == 2:
        return (logits[:, 1] - logits[:, 0]).sigmoid().unsqueeze(0), y.double().unsqueeze(0)
    members = torch.nn.functional.one_hot(y, logits.size(1)).double()
    return logits.softmax(-1).t(), members.t()


def rmse(logits: Tensor, y: Tensor) -> float:
    """Root of the mean squared error, in the target's unit."""
    from torchmetrics.functional.regression import mean_squared_error

    return float(mean_squared_error(logits.squeeze(-1).double(), y.double(), squared=False))


def r2(logits: Tensor, y: Tensor) -> float:
    """Coefficient of determination: 1 - sum (y - prediction)^2 / sum (y - mean y)^2."""
    from torchmetrics.functional.regression import r2_score

    if y.size(0) < 2 or bool((y == y[0]).all()):
        return math.nan
    return float(r2_score(logits.squeeze(-1).double(), y.double()))
