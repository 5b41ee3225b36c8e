"""Judges damaged files in a worker process, and starts a new worker when a file has ended the previous one.

An attack is a module with `judge(path) -> str`, which describes the result for one file; the words in HARMLESS are no
failures. The memory of the worker is bounded. An attack may call `fill_memory` with changing bytes: a read outside an
array then gives results that vary.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import resource
import select
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import torch

HARMLESS = ("refused", "ran")
PREPARING, PATIENCE = 600, 60  # seconds of processor time for the first imports and compilations, and for one file
WAITING = 3600  # seconds of real time, for a process that waits without computing
MEMORY = 3 * 2**30  # bytes of address space that the worker may add after its preparation
M_PERTURB = -6


def fill_memory(byte: int) -> None:
    """Makes glibc fill memory with bytes derived from `byte` when it is allocated or freed; only on Linux."""
    if sys.platform == "linux":
        ctypes.CDLL(None).mallopt(M_PERTURB, byte)


def bound_memory(extra: int = MEMORY) -> None:
    """Limits the address space of this process to its present size and `extra` bytes more."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    limit = pages * resource.getpagesize() + extra
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def verdict(judge: Callable[[Path], str], path: Path) -> str:
    """Judges a file and returns the result in one line; an exception of `judge` becomes a failure."""
    try:
        return judge(path)
    except MemoryError:
        return "memory"
    except Exception as error:  # dqrun must turn every error into one line
        place = traceback.extract_tb(error.__traceback__)[-1]
        return f"traceback {type(error).__name__} in {Path(place.filename).name}:{place.lineno}: {error}".split("\n")[0]


def serve(judge: Callable[[Path], str]) -> None:
    """Reads one path per line from standard input and writes one result per line, as JSON, to standard output."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # other output goes to standard error
    print(json.dumps("ready"), file=answers, flush=True)
    bound_memory()
    for line in sys.stdin:
        print(json.dumps(verdict(judge, Path(line.rstrip("\n")))), file=answers, flush=True)


class Worker:
    """Controls the worker process `python SCRIPT --serve`."""

    def __init__(self, script: str) -> None:
        self.script = script
        self.process: subprocess.Popen[bytes] | None = None

    def ask(self, path: Path) -> str:
        """Returns the worker's result for a file, or a description of its signal, exit code or timeout.

        Starts the worker if none is running.
        """
        if self.process is None:
            self.process = subprocess.Popen(
                [sys.executable, self.script, "--serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
            ready = self._answer(PREPARING)
            assert ready == "ready", ready
        assert self.process.stdin is not None
        self.process.stdin.write(f"{path}\n".encode())
        self.process.stdin.flush()
        return self._answer(PATIENCE)

    def _answer(self, patience: int) -> str:
        assert self.process is not None and self.process.stdout is not None
        began, used = time.monotonic(), self._processor_time()
        while not select.select([self.process.stdout], [], [], 1.0)[0]:
            if self._processor_time() - used > patience or time.monotonic() - began > WAITING:
                self.close()
                return f"hung for {patience} s"
        line = self.process.stdout.readline()
        if line:
            return str(json.loads(line))
        code = self.process.wait()
        self.process = None
        return f"signal {-code}" if code < 0 else f"exit {code}"

    def _processor_time(self) -> float:
        """Returns the seconds of processor time that the worker has used."""
        assert self.process is not None
        fields = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def close(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


def main(
    script: str,
    about: str | None,
    name: str,
    count: int,
    damaged: Callable[[int, int], Iterable[bytes]],
    judge: Callable[[Path], str],
    prepare: Callable[[Path], None],
) -> int:
    """Runs the command line of an attack, `SCRIPT [--count N] [--seed S]`; returns the exit code.

    `about`: the help text. `name`: the word for the files in messages. `count`: the default of N. `damaged(N, S)`
    returns the contents of the damaged files. `prepare(path)` runs in each new worker before its memory is bounded: it
    imports and compiles everything that `judge` needs, and may write to `path`.
    """
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=count)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--serve", action="store_true", help="judge the files that standard input names")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if not arguments.serve:
        return attack(script, name, damaged(arguments.count, arguments.seed))
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder) / "whole")
    serve(judge)
    return 0


def judges_whole_files(judge: Callable[[Path], str], files: Iterable[bytes], path: Path) -> None:
    """Asserts that `judge` returns "ran" for each of these undamaged files; writes them to `path`."""
    for data in files:
        path.write_bytes(data)
        assert judge(path) == "ran", judge(path)


def attack(script: str, name: str, files: Iterable[bytes]) -> int:
    """Judges all files, prints each failure and a line of counts; returns the exit code, 1 after a failure."""
    counts: Counter[str] = Counter()
    worker = Worker(script)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        for i, content in enumerate(files):
            path.write_bytes(content)
            found = worker.ask(path)
            counts[found.split()[0]] += 1
            if found.split()[0] not in HARMLESS:
                print(f"{name} {i}: {found}", flush=True)
        worker.close()
    bad = sum(count for word, count in counts.items() if word not in HARMLESS)
    told = ", ".join(f"{count} {word}" for word, count in sorted(counts.items()))
    print(f"{sum(counts.values())} {name}: {told}; {bad} failures")
    return int(bad > 0)
