"""How integer programs of trained runs agree with their networks, and what their files take.

`python benchmarks/programs.py RESULTS_DIR... [--json FILE]`, for runs of `plan=integer`; `benchmarks/tables.py` makes
the tables of docs/measurements/integer_programs.md from the file.

Parity, on the test data: how many codes differ, and by how much at most, against the float32 network end to end and
operation by operation (each given the network's codes), and against the network in float64 (attention in float64 too);
how many predictions agree with each (regression: within half a step of the last integer sum). Sizes, in bytes: FP32
parameters, the whole file, and of it the weights, the numbers per channel and the structure.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load
from torch import Tensor, nn

from dqrun.analysis.networks import Datasets
from dqrun.cli.verbs.exporting import said
from dqrun.config import RunConfig
from dqrun.data.trial_data import TrialData
from dqrun.graphs import Batch, dense
from dqrun.integer import Program
from dqrun.integer.lower import lower
from dqrun.integer.operations import INPUT, LOGITS, Attention, Value
from dqrun.integer.simulation import simulate
from dqrun.integer.sites import TrainedSites
from dqrun.kernels.integer import Codes, RowGrid, quantize
from dqrun.nn import GNN
from dqrun.quant import named_sites
from dqrun.runs.model_file import load_features, load_model
from dqrun.runs.row import read_row
from dqrun.training.integer_evaluation import agrees
from dqrun.training.tasks import Task


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


@contextmanager
def recorded(model: GNN) -> Iterator[dict[str, Codes]]:
    """Yields a dictionary, where each run of the network in the block stores the codes of its activation sites."""
    codes: dict[str, Codes] = {}
    trained = TrainedSites(model)

    def hook(name: str) -> Callable[..., None]:
        grid = trained.grid(name)

        def keep(module: nn.Module, arguments: tuple[Tensor, ...], y: Tensor) -> None:
            x = arguments[0] if isinstance(grid, RowGrid) else y  # with one grid, y has the same codes as x
            codes[name] = quantize(dense(x), grid)

        return keep

    sites = [(name, site) for name, site in named_sites(model) if site.quantizer is not None and not site.is_weight]
    handles = [site.register_forward_hook(hook(name)) for name, site in sites]
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


def by_operation(program: Program, batch: Batch, codes: dict[str, Codes], count: Count) -> None:
    """Runs each operation on the network's codes and counts the differences of its results."""
    values: dict[str, Value] = {INPUT: dense(batch.x)}
    for operation in program.operations:
        result = operation.run(values, batch.graph)
        if operation.target != LOGITS:
            count.add(result, codes[operation.target].unpack().int())
            values[operation.target] = codes[operation.target]


@torch.no_grad()
def parity(model: GNN, config: RunConfig, data: TrialData) -> dict[str, Any]:
    """Compares the program of a network with the network on the test data."""
    task = Task.of(config.dataset)
    program = lower(model)
    exact, ties = in_float64(program), 0
    whole, single, simulated = Count(), Count(), Count()
    agree, agree64, rows = 0, 0, 0
    for batch in data.batches("test"):
        x = dense(batch.x)
        with recorded(model) as codes:
            logits = model(x, batch.graph)
        values, simulation = program.trace(x, batch.graph), simulate(model, x, batch.graph)
        values64 = exact.trace(x, batch.graph)
        for name, expected in codes.items():
            whole.add(values[name], expected.unpack().int())
            simulated.add(values64[name], simulation.codes[name])
        by_operation(program, batch, codes, single)
        ties += simulation.tie != ""
        chosen = slice(None) if batch.index is None else batch.index
        agree += int(agrees(program, values[LOGITS][chosen], logits[chosen], task).sum())
        agree64 += int(agrees(program, values[LOGITS][chosen], simulation.logits.float()[chosen], task).sum())
        rows += logits[chosen].size(0)
    return {
        "codes": whole.codes,
        "float32": asdict(whole),
        "by_operation": asdict(single),
        "float64": asdict(simulated),
        "batches_with_ties": ties,
        "predictions": rows,
        "agree_float32": agree,
        "agree_float64": agree64,
    }


def sizes(path: Path, model: GNN, config: RunConfig) -> dict[str, int]:
    """The size of the file that `dqrun export` writes for a run, and of its parts, in bytes."""
    features = load_features(path)
    origin = {"run": path.parent.name, "dataset": said(config.dataset)}
    origin |= {} if features is None else {"features": said(features)}
    with tempfile.TemporaryDirectory() as folder:
        lower(model, origin).save(Path(folder) / "a.dqp")
        data = (Path(folder) / "a.dqp").read_bytes()
    elements = {name: stream.numel() for name, stream in load(data).items()}
    weights, numbers = elements.pop("codes"), sum(elements.values())
    return {
        "fp32": 4 * sum(parameter.numel() for parameter in model.parameters()),
        "file": len(data),
        "weights": weights,
        "numbers": numbers,
        "structure": len(data) - weights - numbers,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", metavar="RESULTS_DIR")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    datasets, results = Datasets(), []
    for path in sorted(path for folder in arguments.folders for path in Path(folder).glob("runs/*/model.safetensors")):
        model, config = load_model(path)
        row = read_row(path.parent / "row.json")
        name = f"{row['dataset']} {row['model'].upper()} {row['quant'].upper()}"
        found = {
            "run": name,
            "epochs": row["epochs"],
            **parity(model, config, datasets.trial(config, row["fold"])),
            **sizes(path, model, config),
        }
        results.append(found)
        print(json.dumps(found), flush=True)
    if arguments.json:
        results.sort(key=lambda found: found["run"])
        text = json.dumps({"command": "benchmarks/programs.py", "results": results}, indent=1)
        arguments.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
