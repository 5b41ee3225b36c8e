"""What two processes for one trial change: `python benchmarks/processes.py [--trials N] [--json FILE] [NAME ...]`.

Each network of SETS is trained four times from the same seeds: by one process; by one process whose initial parameters
are multiplied by 1 + 2^-23, the smallest change that float32 can hold; by two processes; and by two that send gradients
as codes of 8 bits. The loss of the first epoch tells whether two processes differ from one by more than rounding does,
the test metric whether that matters.

`python benchmarks/processes.py --speed [--json FILE]` measures the epochs of one and of two processes, on a quiet
machine. `benchmarks/tables.py` makes the tables of docs/howto/several_processes.md.
"""

from __future__ import annotations

import argparse
import csv
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import tables
import torch

import dqrun
from dqrun.bench import command
from dqrun.composition.compose import load_configs
from dqrun.data.dataset import load_dataset
from dqrun.data.fingerprint import fingerprint
from dqrun.process.cores import use_threads
from dqrun.runs.protocol import named_trials
from dqrun.training.state import Training, Watcher
from dqrun.training.trial import run_trial

MUTAG = ["dataset=tu", "dataset.name=MUTAG", "model=gin", "train.epochs=40"]
CORA = ["dataset=cora", "model=gcn", "loader=neighbor", "loader.fanouts=[5,5]", "loader.batch_size=70"]
SETS = {
    "MUTAG GIN FP32": [*MUTAG, "quant=fp32"],
    "MUTAG GIN INT8 naive": [*MUTAG, "quant=int8", "method=naive"],
    "MUTAG GIN INT8 dq": [*MUTAG, "quant=int8", "method=dq"],
    "Cora GCN FP32, sampled": [*CORA, "train.epochs=100", "quant=fp32"],
    "Cora GCN INT8 dq, sampled": [*CORA, "train.epochs=100", "quant=int8", "method=dq"],
}
TOGETHER = ["launcher=torchrun", "processes=2"]
TIMED = {
    "MUTAG GIN": [*MUTAG[:3], "train.epochs=30", "protocol.folds=[0]"],
    "ZINC GIN": ["dataset=zinc", "model=gin", "train.epochs=6", "protocol.trials=1"],
    "REDDIT-BINARY GIN": ["dataset=reddit_binary", "model=gin", "train.epochs=12", "protocol.folds=[0]"],
}
WIDTHS = {"FP32": ["quant=fp32"], "INT8 dq": ["quant=int8", "method=dq"]}


@dataclass(frozen=True)
class Course:
    """The training loss of the first epoch and the test metric of each trial, for one network and way of training."""

    network: str
    way: str
    first_loss: list[float]
    test: list[float]


@dataclass(frozen=True)
class Epochs:
    """Seconds of each epoch after the first, of one process and of two, with one thread each."""

    network: str
    one: list[float]
    two: list[float]


class Nudge(Watcher):
    """Multiplies every initial parameter by 1 + 2^-23."""

    @torch.no_grad()
    def restore(self, training: Training) -> None:
        for parameter in training.model.parameters():
            parameter.mul_(1 + 2.0**-23)


def trained(network: str, way: str, words: Sequence[str], results: Path) -> Course:
    """Trains with the number of processes in `words`."""
    frame = dqrun.run(*words, results=results, progress=False)
    losses = [history(results, run, "train_loss")[0] for run in frame["run_id"]]
    return Course(network, way, losses, [float(value) for value in frame["test_metric"]])


def history(results: Path, run: str, column: str) -> list[float]:
    """A column of a run's history, epoch by epoch."""
    with (results / "runs" / run / "history.csv").open(encoding="utf-8", newline="") as file:
        return [float(line[column]) for line in csv.DictReader(file)]


def nudged(network: str, words: Sequence[str]) -> Course:
    """Trains in one process, with the initial parameters of `Nudge`."""
    (config,) = load_configs(list(words))
    use_threads(config.threads, lambda text: None)
    dataset = load_dataset(config.dataset, config.data)
    losses, metrics = [], []
    for trial, _, _ in named_trials(config, fingerprint(config.dataset)):
        epochs: list[float] = []
        outcome = run_trial(config, trial, dataset, lambda epoch, to=epochs: to.append(epoch.train_loss), Nudge())
        losses.append(epochs[0])
        metrics.append(float(outcome.row.test_metric or 0.0))
    return Course(network, "nudged", losses, metrics)


def courses(network: str, words: Sequence[str], trials: int, folder: Path) -> list[Course]:
    """Trains a network in all four ways; prints the results to stderr."""
    chosen = f"protocol.folds={list(range(trials))}" if network.startswith("MUTAG") else f"protocol.trials={trials}"
    given = [*words, chosen.replace(" ", ""), "threads=1"]
    coded = [*given, *TOGETHER, "train.compress_gradients=int8"]
    lines = [trained(network, "one", given, folder / "one"), nudged(network, given)]
    lines.append(trained(network, "two", [*given, *TOGETHER], folder / "two"))
    lines.append(trained(network, "codes", coded, folder / "codes"))
    print(*lines, sep="\n", file=sys.stderr, flush=True)
    return lines


def epochs(words: Sequence[str], folder: Path) -> list[float]:
    """Trains once and returns the seconds of each epoch after the first."""
    (run,) = dqrun.run(*words, "threads=1", results=folder, progress=False)["run_id"]
    return history(folder, run, "seconds")[1:]


def timed() -> list[Epochs]:
    """Measures all of TIMED at both widths."""
    lines = []
    for name, words in TIMED.items():
        for width, quant in WIDTHS.items():
            with tempfile.TemporaryDirectory() as folder:
                given, here = [*words, *quant], Path(folder)
                one, two = epochs(given, here / "one"), epochs([*given, *TOGETHER], here / "two")
            lines.append(Epochs(f"{name} {width}", one, two))
            print(lines[-1], file=sys.stderr, flush=True)
    return lines


def main(argv: Sequence[str] | None = None) -> int:
    """Measures and prints the table; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(SETS)} (default: all)")
    parser.add_argument("--trials", type=int, default=5)
    parser.add_argument("--speed", action="store_true", help="measure seconds of epochs instead")
    parser.add_argument("--json", metavar="FILE")
    arguments = parser.parse_args(argv)
    output = command.writable(arguments.json)
    if arguments.speed:
        lines = timed()
        command.write(output, lines)
        print(tables.speed_table({"results": [asdict(line) for line in lines]}))
        return 0
    measured: list[Course] = []
    for name in arguments.names or SETS:
        with tempfile.TemporaryDirectory() as folder:
            measured += courses(name, SETS[name], arguments.trials, Path(folder))
        command.write(output, measured)
    print(tables.processes_table({"results": [asdict(line) for line in measured]}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
