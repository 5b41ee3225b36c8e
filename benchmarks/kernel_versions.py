"""Integer kernels of two checkouts, interleaved: `python benchmarks/kernel_versions.py OTHER [--only REGEX]`.

OTHER is a checkout of another commit (`git worktree add`). Each runs in its own process. Calls alternate, so that a
slow machine slows both. Prints for each kernel the processor time of its first call with an empty compile cache (s),
the median processor time of later calls (ms), which other processes disturb less than wall time, and the ratio of this
checkout to the other. Both make the same codes from the same seed; results are compared, except for attention, which
sums floats. Defaults: `--threads 1`, `--channels 128`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROUNDS = 15
NODES, EDGES, SEGMENTS = 50_000, 500_000, 2_000


def operations(channels: int) -> dict[str, Callable[[], Any]]:
    """The timed calls by name: the kernels that programs of all networks use."""
    import torch

    from dqrun.graphs import CSR
    from dqrun.kernels.integer import CodeGrid, Epilogue, RowGrid, Weight, cpu

    generator = torch.Generator().manual_seed(0)
    float64: dict[str, Any] = {"dtype": torch.float64, "generator": generator}
    grids = {"int8": CodeGrid(8, 0.05, 100), "int4": CodeGrid(4, 0.5, 7), "int2": CodeGrid(2, 1.0, 1)}
    grids |= {"rows8": RowGrid(8), "rows4": RowGrid(4)}
    x = torch.randn(NODES, channels, generator=generator)
    csr = CSR.from_edge_index(torch.randint(0, NODES, (2, EDGES), generator=generator), NODES)
    weight = Weight(torch.randint(-127, 128, (channels, channels), dtype=torch.int8, generator=generator))
    ptr, one = torch.linspace(0, NODES, SEGMENTS + 1).long(), torch.ones(1, dtype=torch.float64)
    scale, factor, bias = torch.rand(NODES, **float64), *(torch.randn(channels, **float64) * 0.01 for _ in range(2))
    a = {heads: torch.randn(2, heads, channels // heads, generator=generator) for heads in (1, 8)}
    found: dict[str, Callable[[], Any]] = {}
    for name, grid in grids.items():
        codes = cpu.quantize(x, grid)
        plain = Epilogue(factor, bias=bias, activation="relu", grid=grid)
        normal = Epilogue(factor, scale, bias=bias, grid=grid)
        gained = Epilogue(factor, bias=bias, pre_relu=True, gain=factor, offset=bias, grid=grid)
        residual, reals = Epilogue(factor, bias=bias, residual=codes, grid=grid), Epilogue(factor, bias=bias)
        elu = Epilogue(factor, bias=bias, activation="elu", grid=grid)
        found |= {
            f"quantize {name}": lambda g=grid: cpu.quantize(x, g),
            f"linear {name}": lambda c=codes, e=plain: cpu.linear(c, weight, e),
            f"linear gain {name}": lambda c=codes, e=gained: cpu.linear(c, weight, e),
            f"linear residual {name}": lambda c=codes, e=residual: cpu.linear(c, weight, e),
            f"linear elu {name}": lambda c=codes, e=elu: cpu.linear(c, weight, e),
            f"linear reals {name}": lambda c=codes, e=reals: cpu.linear(c, weight, e),
            f"linear_pair {name}": lambda c=codes, e=plain: cpu.linear_pair(c, weight, c, weight, one, e),
            f"aggregate {name}": lambda c=codes, e=normal: cpu.aggregate(csr, c, None, e),
            f"aggregate own {name}": lambda c=codes, e=plain: cpu.aggregate(csr, c, 1.5, e),
            f"aggregate gain {name}": lambda c=codes, e=gained: cpu.aggregate(csr, c, None, e),
            f"aggregate residual {name}": lambda c=codes, e=residual: cpu.aggregate(csr, c, None, e),
            f"aggregate reals {name}": lambda c=codes, e=reals: cpu.aggregate(csr, c, None, e),
            f"aggregate_mean {name}": lambda c=codes, e=plain: cpu.aggregate_mean(csr, c, e),
            f"segment sum {name}": lambda c=codes, e=reals: cpu.segment_reduce(c, ptr, "sum", e),
            f"segment max {name}": lambda c=codes, e=reals: cpu.segment_reduce(c, ptr, "max", e),
            f"attention 8 {name}": lambda c=codes, e=plain: cpu.attention(csr, c, *a[8], 0.2, True, e),
            f"attention 1 {name}": lambda c=codes, e=plain: cpu.attention(csr, c, *a[1], 0.2, True, e),
        }
    return found


def work(checkout: Path, threads: int, channels: int) -> None:
    """Runs in the process of a checkout: for each operation's name on standard input, runs it and prints its times."""
    sys.path.insert(0, str(checkout))  # before the installed dqrun
    import torch

    import dqrun
    from dqrun.process.memory import keep_freed_memory

    keep_freed_memory()  # as in `dqrun bench`; without it some processes get new pages for each result
    torch.set_num_threads(threads)
    known = operations(channels)
    print(json.dumps([dqrun.__file__, list(known)]), flush=True)
    for line in sys.stdin:
        begun, used = time.perf_counter(), time.process_time()
        result = known[line.strip()]()
        seconds, used = time.perf_counter() - begun, time.process_time() - used
        data = result if isinstance(result, torch.Tensor) else result.data
        print(json.dumps([seconds, used, hashlib.sha256(data.numpy().tobytes()).hexdigest()]), flush=True)


class Worker:
    """The process of a checkout."""

    def __init__(self, checkout: Path, cache: str, *options: str) -> None:
        environment = os.environ | {"NUMBA_CACHE_DIR": cache}
        command = [sys.executable, __file__, "--worker", str(checkout), *options]
        pipe = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process: Any = subprocess.Popen(command, cwd=checkout, env=environment, **pipe)  # type: ignore[call-overload]
        loaded, self.names = json.loads(self.process.stdout.readline())
        if Path(loaded).parents[1] != checkout:
            raise SystemExit(f"{checkout} was to be timed, {loaded} was imported")

    def run(self, name: str) -> tuple[float, float, str]:
        """Runs an operation; returns its seconds, its processor seconds and a digest of its result."""
        self.process.stdin.write(name + "\n")
        self.process.stdin.flush()
        seconds, used, digest = json.loads(self.process.stdout.readline())
        return seconds, used, digest


def compare(other: Path, only: str, *options: str) -> None:
    with tempfile.TemporaryDirectory() as cache:
        checkouts = Path(__file__).resolve().parents[1], other.resolve()
        ours, theirs = (Worker(path, f"{cache}/{i}", *options) for i, path in enumerate(checkouts))
        print(f"{'kernel':24} first call, s   median of {ROUNDS}, ms  ratio")
        for name in (each for each in ours.names if re.search(only, each)):
            first = [worker.run(name) for worker in (ours, theirs)]
            if first[0][2] != first[1][2] and "attention" not in name:
                print(f"{name}: the results differ")
            taken: tuple[list[float], list[float]] = ([], [])
            for _ in range(ROUNDS):
                for worker, times in zip((ours, theirs), taken, strict=True):
                    times.append(worker.run(name)[1] * 1e3)
            a, b = (statistics.median(times) for times in taken)
            compiled = f"{first[0][1]:6.2f} {first[1][1]:6.2f}"
            print(f"{name:24} {compiled}   {a:8.2f} {b:8.2f}  {a / b:5.2f}", flush=True)
        for worker in (ours, theirs):
            worker.process.stdin.close()
            worker.process.wait()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("other", type=Path, nargs="?")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--channels", type=int, default=128)
    parser.add_argument("--only", default="")
    parser.add_argument("--worker", type=Path, help="the checkout of a process that is timed")
    given = parser.parse_args()
    if given.worker:
        work(given.worker, given.threads, given.channels)
    else:
        compare(given.other, given.only, f"--threads={given.threads}", f"--channels={given.channels}")


if __name__ == "__main__":
    main()
