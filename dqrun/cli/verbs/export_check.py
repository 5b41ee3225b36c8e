"""`dqrun export --check`: compares both rules of requantisation and the compiled C library on a run's test data."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from dqrun.cli.verbs.exporting import Run
from dqrun.errors import DqrunError
from dqrun.graphs import Batch, dense
from dqrun.integer import Program
from dqrun.integer.c import Library, write_library
from dqrun.integer.c.compiled import Compiled, find_compiler, own_edges, stored
from dqrun.integer.operations import LOGITS, Lookup, Value
from dqrun.kernels.integer import Codes
from dqrun.training.integer_evaluation import agrees
from dqrun.training.loop import select
from dqrun.training.metrics import Metric, value_of
from dqrun.training.tasks import Task


@dataclass
class Difference:
    """Compared and differing values, and their largest difference; `what`: the name of the values."""

    what: str = "codes"
    count: int = 0
    differing: int = 0
    largest: int = 0

    def add(self, found: Tensor, expected: Tensor) -> None:
        """Compares two tensors of whole numbers of the same shape."""
        apart = (found.long() - expected.long()).abs()
        self.count += apart.numel()
        self.differing += int((apart > 0).sum())
        self.largest = max(self.largest, int(apart.max()) if apart.numel() else 0)

    def __str__(self) -> str:
        by = f", by {self.largest} at most" if self.differing else ""
        return f"{self.differing} of {self.count} {self.what} differ{by}"


@dataclass
class Rules:
    """The comparison of the fixed-point rule with the float64 rule."""

    task: Task
    metrics: dict[str, Metric]
    codes: Difference = field(default_factory=Difference)
    agreeing: int = 0
    predictions: int = 0

    def add(self, programs: dict[str, Program], values: dict[str, dict[str, Value]], batch: Batch) -> None:
        """Compares the values of a batch; `values`: by rule, then by site."""
        for site, value in values["fixed"].items():
            other = values["float64"][site]
            if isinstance(value, Codes) and isinstance(other, Codes):
                self.codes.add(value.unpack(), other.unpack())
        chosen = {rule: select(real_logits(programs[rule], found), batch) for rule, found in values.items()}
        for rule, (found, y) in chosen.items():
            self.metrics[rule].update(found, y)
        same = agrees(programs["float64"], chosen["fixed"][0], chosen["float64"][0], self.task)
        self.agreeing += int(same.sum())
        self.predictions += same.numel()

    def __str__(self) -> str:
        name = self.task.metric
        reached = {rule: value_of(name, metric) for rule, metric in self.metrics.items()}
        return (
            f"fixed beside float64: {self.codes}; {self.agreeing} of {self.predictions} predictions agree; "
            f"{name} {reached['fixed']:.4f} and {reached['float64']:.4f}"
        )


@torch.no_grad()
def check(program: Program, run: Run, library: Library | None = None) -> list[str]:
    """Runs the test data of a run under both rules, and with a C library if it is given; returns a line for each.

    Raises DqrunError if the compiled library gives other numbers than the fixed-point rule.
    """
    task, compiler = Task.of(run.config.dataset), None if library is None else find_compiler()
    programs = {"float64": program, "fixed": program.with_epilogue("fixed")}
    rules, in_c = Rules(task, {rule: task.new_metric() for rule in programs}), Difference("bytes and logits")
    with tempfile.TemporaryDirectory() as folder:
        compiled = None
        if library is not None and compiler is not None:
            write_library(library, Path(folder))
            compiled = Compiled(library, Path(folder), compiler)
        for batch in run.data().batches("test"):
            x = dense(batch.x)
            values = {rule: each.trace(x, batch.graph) for rule, each in programs.items()}
            rules.add(programs, values, batch)
            if compiled is not None:
                compare_c(compiled, x, batch, values["fixed"], in_c)
    if in_c.differing:
        raise DqrunError(f"the compiled library must give the numbers of the fixed-point rule, got others: {in_c}")
    return [str(rules), *([] if library is None else [told(compiled, in_c)])]


def told(compiled: Compiled | None, difference: Difference) -> str:
    """The line about the compiled library; `compiled`: None without a compiler."""
    if compiled is None:
        return "C: not run, there is no compiler (CC, cc, gcc, clang)"
    return f"C ({Path(compiled.compiler).name}) beside fixed: {difference}"


def real_logits(program: Program, values: dict[str, Value]) -> Tensor:
    """The logits of a trace, scaled as those of `Program.run`, float32."""
    logits = values[LOGITS]
    assert isinstance(logits, Tensor)
    return (logits.double() * program.logit_scale).float()


def compare_c(compiled: Compiled, x: Tensor, batch: Batch, values: dict[str, Value], found: Difference) -> None:
    """Runs the library on each graph of a batch and compares all its results with the reference `values`."""
    program, graph = compiled.library.program, batch.graph
    first = program.operations[0]
    given = x if isinstance(first, Lookup) else stored(values[first.target])
    edges = own_edges(graph.csr.edge_index, program.self_loops)
    for i in range(graph.num_graphs):
        start, stop = graph.node_ptr[i : i + 2].tolist()
        inside = (edges[0] >= start) & (edges[0] < stop)
        for site, got in compiled.trace(given[start:stop], edges[:, inside] - start).items():
            buffer = compiled.library.buffers.get(site)
            per_graph = program.signature.graph_level if buffer is None else buffer.per_graph
            expected = stored(values[site])
            found.add(got, expected[i : i + 1] if per_graph else expected[start:stop])
