"""Compares the integer program of a trained network with the network itself, on the same batches."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dqrun.graphs import Batch, dense
from dqrun.integer import Program
from dqrun.integer.lower import lower
from dqrun.integer.simulation import in_float64
from dqrun.nn import GNN
from dqrun.training.in_blocks import outputs
from dqrun.training.loop import require_finite, select
from dqrun.training.metrics import value_of
from dqrun.training.tasks import Task


@dataclass(frozen=True)
class IntegerResult:
    """Columns of a row: the program's test metric, and the share of its predictions that agree with those of the
    fake-quantised network, computed in float64 and in float32 (as in training)."""

    test_metric_integer: float
    integer_agreement: float
    integer_agreement_float32: float


@torch.no_grad()
def evaluate_integer(model: GNN, batches: Iterable[Batch], task: Task) -> IntegerResult:
    """Runs a network, its copy in float64 and its program over CPU batches; in blocks where a batch says so.

    Predictions agree when the classes are the same; with labels each label is a prediction; in regression when they are
    at most half a step of the last integer sum apart. Raises ConfigError for a network that cannot be lowered,
    TrialFailed for a metric beyond float32.
    """
    program, judge = lower(model), in_float64(model)
    model.eval()
    metric, in_64, in_32, count = task.new_metric(), 0, 0, 0
    for batch in batches:
        trained, _ = select(outputs(model, batch), batch)  # with sparse features, if the data has them
        batch = replace(batch, x=dense(batch.x))
        logits, y = select(run_program(program, batch), batch)
        exact, _ = select(outputs(judge, in_double(batch)), batch)
        metric.update(logits, y)
        same = agrees(program, logits, exact, task)
        in_64 += int(same.sum())
        in_32 += int(agrees(program, logits, trained, task).sum())
        count += same.numel()
    reached = value_of(task.metric, metric)
    require_finite("integer test", 0.0, reached)
    return IntegerResult(reached, in_64 / count, in_32 / count)


def run_program(program: Program, batch: Batch) -> Tensor:
    """Logits of a batch by the program: of all rows at once, or in blocks; both give the same bits."""
    if batch.gather is None:
        return program.run(dense(batch.x), batch.graph)
    return program.stream(batch.gather, batch.graph, batch.block)


def in_double(batch: Batch) -> Batch:
    """The same batch with float features in float64."""

    def double(x: Tensor) -> Tensor:
        return x.double() if x.is_floating_point() else x

    gather = batch.gather
    return replace(batch, x=double(dense(batch.x)), gather=gather and (lambda nodes: double(gather(nodes))))


def agrees(program: Program, logits: Tensor, expected: Tensor, task: Task) -> Tensor:
    """Whether logits, float32 [n, C], give the same prediction as `expected` (any float type): bool [n] or [n, L]."""
    if task.multilabel:
        return (logits > 0) == (expected > 0)
    if task.regression:
        return ((logits - expected).abs() <= program.output_step / 2).all(-1)
    return logits.argmax(-1) == expected.argmax(-1)
