"""Where the time of integer programs goes: `python benchmarks/operations.py [--rounds N] [--threads T] [--json FILE]`.

Each operation of the GCN of `dqrun bench inference graph=powerlaw` is timed, for each width and with ranges of rows, on
a quiet machine. `benchmarks/tables.py` makes the table of docs/measurements/speed.md.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import tables
import torch

from dqrun.bench import command
from dqrun.bench.inference import WIDTHS, Workload
from dqrun.bench.one_bit import of_one_bit
from dqrun.bench.program import OperationTime, operation_times
from dqrun.bench.timing import set_threads
from dqrun.integer.lower import lower
from dqrun.process.memory import keep_freed_memory


@dataclass(frozen=True)
class Profile:
    """The operations of one program, in the order of a run."""

    program: str
    operations: list[OperationTime]


@torch.inference_mode()
def profiles(rounds: int) -> list[Profile]:
    """Times the operations of each program."""
    workload = Workload.prepare("powerlaw", "gcn")
    programs = {quant: lower(workload.network(quant)) for quant in WIDTHS}
    programs["int1"] = of_one_bit(programs["int2"])
    inputs = [(workload.x, workload.graph)]
    return [Profile(name, operation_times(each, inputs, rounds, lambda: None)) for name, each in programs.items()]


def main(argv: Sequence[str] | None = None) -> int:
    """Measures and prints the table; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", metavar="FILE")
    arguments = parser.parse_args(argv)
    output = command.writable(arguments.json)
    keep_freed_memory()
    set_threads(arguments.threads)
    measured = profiles(arguments.rounds)
    command.write(output, measured)
    print(tables.operations_table({"results": [asdict(line) for line in measured]}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
