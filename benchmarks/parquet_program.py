"""From a graph in Parquet files to an INT8 program, step by step: time and memory.

`python benchmarks/parquet_program.py FOLDER [--nodes N] [--edges E] [--json FILE]` writes the graph of
`parquet_graph.py` (100 million edges) into FOLDER and measures each command of docs/howto/large_graphs.md in a process
of its own. Then it reads the graph in its own process and runs the program over it. `benchmarks/tables.py` makes the
page's table.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import tables
import torch

import dqrun
from dqrun.bench import command
from dqrun.composition.compose import load_configs
from dqrun.data.dataset import load_dataset
from dqrun.data.splits import split_for
from dqrun.data.trial_data import TrialData
from dqrun.process.cores import use_threads
from dqrun.training.integer_evaluation import run_program

WORDS = [
    "dataset=folder", "dataset.name=hundred", "dataset.task=node_classification", "model=gcn", "model.hidden=32",
    "quant=int8", "method=dq", "plan=integer", "loader=neighbor", "loader.fanouts=[10,5]", "loader.batch_size=2048",
    "loader.block=500000", "train.epochs=1", "train.lr=0.01", "protocol.trials=1", "threads=2",
]  # fmt: skip


@dataclass(frozen=True)
class Step:
    """Wall time and processor time of a step in seconds, and the largest resident memory of its process in bytes."""

    step: str
    seconds: float
    processor_seconds: float
    peak_bytes: int


def in_a_process(step: str, *words: str | Path) -> Step:
    """Runs a command to its end; ends the script with the command's exit code if that is not 0."""
    print(f"{step} ...", file=sys.stderr, flush=True)
    started = time.perf_counter()
    process = subprocess.Popen([str(word) for word in words], stdout=sys.stderr)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(process.returncode)
    return Step(step, time.perf_counter() - started, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024)


@contextmanager
def here(step: str, steps: list[Step]) -> Iterator[None]:
    """Adds the block, which runs in this process, to `steps`."""
    print(f"{step} ...", file=sys.stderr, flush=True)
    started, processor = time.perf_counter(), time.process_time()
    yield
    seconds, used = time.perf_counter() - started, time.process_time() - processor
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    steps.append(Step(step, seconds, used, peak))


@torch.no_grad()
def run_here(words: Sequence[str], program_file: Path) -> list[Step]:
    """Reads the graph and runs the program over all of its nodes, in blocks."""
    (config,) = load_configs(list(words))
    use_threads(config.threads, lambda text: None)
    steps: list[Step] = []
    with here("reading and checking the folder", steps):
        dataset = load_dataset(config.dataset, config.data)
    split = split_for(dataset, config.protocol, None)
    data = TrialData.build(
        dataset, split, config.dataset, config.train.batch_size, self_loops=True, device="cpu", loader=config.loader
    )
    program = dqrun.load_program(program_file)
    (batch,) = data.judged("test")
    with here("the program over the whole graph", steps):
        run_program(program, batch)
    return steps


def measured(folder: Path, size: Sequence[str]) -> tuple[list[Step], float]:
    """All steps, in the order of the page, and the seconds of the epoch with its evaluation of the validation part."""
    graph, results, program = folder / "hundred", folder / "results", folder / "hundred.dqp"
    writer = Path(__file__).parent / "parquet_graph.py"
    words = [*WORDS, f"dataset.path={graph}", f"results.dir={results}"]
    steps = [
        in_a_process("writing the files", sys.executable, writer, graph, *size),
        in_a_process("the training command", "dqrun", *words),
    ]
    trial = dqrun.results(results).iloc[0]
    steps += [
        in_a_process("the export", "dqrun", "export", results / "runs" / trial["run_id"], "-o", program),
        in_a_process("the training command with `evaluate.engine=integer`", "dqrun", *words, "evaluate.engine=integer"),
    ]
    return [*steps, *run_here(words, program)], float(trial["seconds_per_epoch"])


def main(argv: Sequence[str] | None = None) -> int:
    """Measures and prints the table; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--nodes", type=int, default=2_000_000)
    parser.add_argument("--edges", type=int, default=100_000_000)
    parser.add_argument("--json", metavar="FILE")
    arguments = parser.parse_args(argv)
    output = command.writable(arguments.json)
    steps, epoch = measured(arguments.folder, [f"--nodes={arguments.nodes}", f"--edges={arguments.edges}"])
    command.write(output, steps, epoch_seconds=epoch)
    print(tables.parquet_table({"results": [asdict(step) for step in steps], "epoch_seconds": epoch}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
