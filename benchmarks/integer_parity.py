"""How integer programs of trained runs agree with their networks, on the test data: `integer_parity.py RESULTS_DIR`.

For each run: the largest difference of a code and how many codes differ, against the float32 network end to end and
operation by operation (each given the network's codes), and against the network in float64 (attention in float64 too);
how many predictions agree with each (regression: within half a step of the last integer sum).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from dqrun.build import uses_self_loops
from dqrun.checkpoint import load_model
from dqrun.data.dataset import load_dataset
from dqrun.data.splits import split_for
from dqrun.data.trial_data import TrialData
from dqrun.engine import Program
from dqrun.engine.lower import lower
from dqrun.engine.operations import INPUT, LOGITS, Attention, Value
from dqrun.engine.simulation import simulate
from dqrun.graph import Batch
from dqrun.integer_evaluation import agrees
from dqrun.kernels.integer import Codes
from dqrun.nn import GNN
from dqrun.quant import named_sites
from dqrun.tasks import Task


@dataclass
class Count:
    """Codes compared so far."""

    codes: int = 0
    differing: int = 0
    largest: int = 0

    def add(self, value: Value, expected: Tensor) -> None:
        assert isinstance(value, Codes)
        apart = (value.unpack().int() - expected).abs()
        self.codes += apart.numel()
        self.differing += int((apart > 0).sum())
        self.largest = max(self.largest, int(apart.max()) if apart.numel() else 0)

    def __str__(self) -> str:
        return f"{self.differing} of {self.codes} differ, by {self.largest} at most"


@contextmanager
def recorded(model: GNN) -> Iterator[dict[str, Tensor]]:
    """Stored codes of each activation site of the float32 network, as it runs."""
    codes: dict[str, Tensor] = {}

    def hook(name: str, quantizer: nn.Module) -> Callable[..., None]:
        def keep(module: nn.Module, arguments: object, y: Tensor) -> None:
            scale, zero_point = quantizer.params()
            codes[name] = torch.round(y / scale).int() + zero_point - quantizer.grid.qmin

        return keep

    sites = [(name, site) for name, site in named_sites(model) if site.quantizer is not None and not site.is_weight]
    handles = [site.register_forward_hook(hook(name, site.quantizer)) for name, site in sites]
    yield codes
    for handle in handles:
        handle.remove()


def in_float64(program: Program) -> Program:
    """The program with attention computed in float64."""
    operations = (
        replace(operation, attention=operation.attention.double()) if isinstance(operation, Attention) else operation
        for operation in program.operations
    )
    return replace(program, operations=tuple(operations))


def by_operation(program: Program, batch: Batch, codes: dict[str, Tensor], count: Count) -> None:
    """Runs each operation on the network's own codes."""
    values: dict[str, Value] = {INPUT: batch.x}
    for operation in program.operations:
        result = operation.run(values, batch.graph)
        if operation.target != LOGITS:
            count.add(result, codes[operation.target])
            values[operation.target] = Codes.of(codes[operation.target], result.grid)


@torch.no_grad()
def report(folder: Path) -> None:
    model, config = load_model(folder / "model.safetensors")
    task, fold = Task(config.dataset.task), json.loads((folder / "row.json").read_text())["fold"]
    dataset = load_dataset(config.dataset, config.data)
    split, loops = split_for(dataset, config.protocol, fold), uses_self_loops(config.model)
    data = TrialData.build(dataset, split, config.dataset, config.train.batch_size, loops)
    program = lower(model)
    exact, ties = in_float64(program), 0
    whole, single, simulated = Count(), Count(), Count()
    agree, agree64, rows = 0, 0, 0
    for batch in data.batches("test"):
        with recorded(model) as codes:
            logits = model(batch.x, batch.graph)
        values, simulation = program.trace(batch.x, batch.graph), simulate(model, batch.x, batch.graph)
        values64 = exact.trace(batch.x, batch.graph)
        for name, expected in codes.items():
            whole.add(values[name], expected)
            simulated.add(values64[name], simulation.codes[name])
        by_operation(program, batch, codes, single)
        ties += simulation.tie != ""
        chosen = slice(None) if batch.index is None else batch.index
        agree += int(agrees(program, values[LOGITS][chosen], logits[chosen], task).sum())
        agree64 += int(agrees(program, values64[LOGITS][chosen], simulation.logits.float()[chosen], task).sum())
        rows += logits[chosen].size(0)
    print(f"{folder.name}\n  float32 end to end: {whole}; {agree} of {rows} predictions agree")
    print(f"  float32 by operation: {single}")
    print(f"  float64: {simulated}; {agree64} of {rows} predictions agree; batches with a value on a tie: {ties}")


if __name__ == "__main__":
    for run in sorted(Path(sys.argv[1]).glob("runs/*/model.safetensors")):
        report(run.parent)
