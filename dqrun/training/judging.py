"""Metrics of the test part: all of dqrun's that fit the task, and the metric of a constant prediction."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dqrun.errors import TrialFailed
from dqrun.training.metrics import Collected, make_metric, value_of
from dqrun.training.tasks import Task


def recorded_metrics(task: Task, rows: Collected, decided: float) -> dict[str, float | None]:
    """dqrun's own metrics of the rows of a part, by name; None for one that is not defined for its targets.

    `decided`: the value of the metric that decides, which is not computed again.
    """
    found: dict[str, float | None] = {}
    for name in task.recorded:
        metric = make_metric(name)
        metric.update(*rows.all_rows())
        found[name] = _finite(decided if name == task.metric else value_of(name, metric))
    return found


def baseline(task: Task, train_y: Tensor, test_y: Tensor, width: int) -> float | None:
    """The deciding metric of the best constant prediction, evaluated on targets.

    The prediction comes from the training targets: the most frequent class, the share of each label, the median (`mae`)
    or the mean. None if the metric is not defined for it. `train_y`, `test_y`: targets as in `Batch.y`; `width`: number
    of logits.
    """
    metric = task.new_metric()
    try:
        metric.update(constant_logits(task, train_y, width).expand(test_y.size(0), -1), test_y)
        return _finite(value_of(task.metric, metric))
    except (TrialFailed, ValueError, RuntimeError):  # a user's metric may not take constant predictions
        return None


def constant_logits(task: Task, y: Tensor, width: int) -> Tensor:
    """Logits of the best constant prediction for the targets y, float32 [1, width]."""
    if task.regression:
        values = y.double().sort().values
        if task.metric == "mae":
            values = values[(y.numel() - 1) // 2 : y.numel() // 2 + 1]  # the median is the mean of the middle
        return values.mean().float().reshape(1, 1)
    if task.multilabel:
        known = ~y.isnan()
        share = (y.nan_to_num() * known).double().sum(0) / known.sum(0).clamp(min=1)
        return torch.logit(torch.where(known.any(0), share, 0.5), eps=1e-6).float().unsqueeze(0)
    return (torch.bincount(y, minlength=width).double() + 1e-6).log().float().unsqueeze(0)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
