"""`dqrun export --format onnx`: a program as an ONNX model, and a comparison with ONNX Runtime."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from dqrun.cli.verbs.exporting import Export, Run, writing
from dqrun.graphs import dense
from dqrun.integer import Program
from dqrun.integer.onnx import Session, write_onnx
from dqrun.training.integer_evaluation import agrees
from dqrun.training.tasks import Task


@dataclass(frozen=True)
class Agreement:
    """The agreement of two forms of a program: the number of `predictions` and of `equal` ones; in steps of the last
    integer sum, the largest difference of logits and the share of logits with a difference of at most 0.5."""

    predictions: int
    equal: int
    largest_steps: float
    within_half_a_step: float

    def __str__(self) -> str:
        share = f"{self.equal} of {self.predictions} predictions ({self.equal / max(self.predictions, 1):.2%})"
        within = f"{self.within_half_a_step:.2%} of the logits are within half a step of the last sum"
        return f"{share} are the program's; {within}, the largest difference is {self.largest_steps:.3g} steps"


def write(export: Export, output: Path, arguments: Namespace) -> list[str]:
    """Writes the model and returns lines about its content and, with --check, its agreement.

    Raises ConfigError for a program without an ONNX form and if the extra [onnx] is missing, ResultsError if the file
    cannot be written.
    """
    run = export.require_run("--check") if arguments.check else None
    with writing(output):
        model = write_onnx(export.program, output)
    (opset,) = model.opset_import
    size = output.stat().st_size
    lines = [f"{output}: {size} bytes, opset {opset.version}, {len(model.graph.node)} nodes"]
    return lines if run is None else [*lines, f"ONNX Runtime on the test data: {check(export.program, run, output)}"]


def check(program: Program, run: Run, path: Path) -> Agreement:
    """Compares ONNX Runtime with the model in `path` to the program on the run's test data."""
    task, session = Task.of(run.config.dataset), Session(path)
    pairs = []
    for batch in run.data().batches("test"):
        x, graph, chosen = dense(batch.x), batch.graph, slice(None) if batch.index is None else batch.index
        found = session(x, graph.csr.edge_index, graph.batch)
        pairs.append((found[chosen], program.run(x, graph)[chosen]))
    return compare(program, task, *(torch.cat(logits) for logits in zip(*pairs, strict=True)))


def compare(program: Program, task: Task, found: Tensor, expected: Tensor) -> Agreement:
    """Compares logits, float32 [n, C], n > 0."""
    same = agrees(program, found, expected, task)
    steps = (found.double() - expected.double()).abs() / program.output_step
    within = float((steps <= 0.5).double().mean())
    return Agreement(same.numel(), int(same.sum()), float(steps.max()), within)
