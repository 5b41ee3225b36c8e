"""The integer program of a trained network beside the network itself, on the same batches."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from dqrun.engine import Program
from dqrun.engine.lower import lower
from dqrun.graph import Batch
from dqrun.nn import GNN
from dqrun.tasks import Task
from dqrun.training import select


@dataclass(frozen=True)
class IntegerResult:
    """Columns of a row: the metric that the program reaches, and the share of predictions that both have."""

    test_metric_integer: float
    integer_agreement: float


@torch.no_grad()
def evaluate_integer(model: GNN, batches: Iterable[Batch], task: Task) -> IntegerResult:
    """Runs a network and its program over CPU batches.

    Predictions agree when the classes are the same; in regression when they are at most half a step of the last
    integer sum apart. Raises ConfigError for a network that cannot be lowered.
    """
    program = lower(model)
    model.eval()
    score, agreeing, count = 0.0, 0, 0
    for batch in batches:
        logits, y = select(program.run(batch.x, batch.graph), batch)
        expected, _ = select(model(batch.x, batch.graph), batch)
        score += task.score(logits, y).item()
        agreeing += int(agrees(program, logits, expected, task).sum())
        count += y.size(0)
    return IntegerResult(score / count, agreeing / count)


def agrees(program: Program, logits: Tensor, expected: Tensor, task: Task) -> Tensor:
    """Which rows of logits [n, C] lead to the same prediction, bool [n]."""
    if task.regression:
        return ((logits - expected).abs() <= program.output_step / 2).all(-1)
    return logits.argmax(-1) == expected.argmax(-1)
