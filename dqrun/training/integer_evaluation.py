"""The integer program of a trained network beside the network itself, on the same batches."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from dqrun.graphs import Batch, dense
from dqrun.integer import Program
from dqrun.integer.lower import lower
from dqrun.integer.simulation import in_float64
from dqrun.nn import GNN
from dqrun.training.loop import require_finite, select
from dqrun.training.metrics import value_of
from dqrun.training.tasks import Task


@dataclass(frozen=True)
class IntegerResult:
    """Columns of a row: the metric that the program reaches, and the shares of its predictions that the fake-quantised
    network has too, in float64 (the judge of parity) and in float32, as it was trained."""

    test_metric_integer: float
    integer_agreement: float
    integer_agreement_float32: float


@torch.no_grad()
def evaluate_integer(model: GNN, batches: Iterable[Batch], task: Task) -> IntegerResult:
    """Runs a network, its copy in float64 and its program over CPU batches.

    Predictions agree when the classes are the same; with labels each label is a prediction; in regression when they are
    at most half a step of the last integer sum apart. Raises ConfigError for a network that cannot be lowered,
    TrialFailed for a metric beyond float32.
    """
    program, judge = lower(model), in_float64(model)
    model.eval()
    metric, in_64, in_32, count = task.new_metric(), 0, 0, 0
    for batch in batches:
        x = dense(batch.x)
        logits, y = select(program.run(x, batch.graph), batch)
        exact, _ = select(judge(x.double() if x.is_floating_point() else x, batch.graph), batch)
        trained, _ = select(model(x, batch.graph), batch)
        metric.update(logits, y)
        same = agrees(program, logits, exact, task)
        in_64 += int(same.sum())
        in_32 += int(agrees(program, logits, trained, task).sum())
        count += same.numel()
    reached = value_of(task.metric, metric)
    require_finite("integer test", 0.0, reached)
    return IntegerResult(reached, in_64 / count, in_32 / count)


def agrees(program: Program, logits: Tensor, expected: Tensor, task: Task) -> Tensor:
    """Which logits, float32 [n, C], lead to the same prediction as `expected` (any float type), bool [n] or [n, L]."""
    if task.multilabel:
        return (logits > 0) == (expected > 0)
    if task.regression:
        return ((logits - expected).abs() <= program.output_step / 2).all(-1)
    return logits.argmax(-1) == expected.argmax(-1)
