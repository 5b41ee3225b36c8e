"""Makes file-system calls fail at random and checks what commands report and lose.

    python benchmarks/attacks/filesystem.py [--count 200] [--seed 0] [--only sweep|tune]

A command runs, and its k-th call that opens, writes, renames, links, syncs, lists, removes or otherwise changes
something in its folder fails. In some attacks, all later calls fail too. The error is no space left, an input/output
error, or no permission. Then the same command runs again without faults.

Failures of the first command: a traceback, an exit code other than 0, 1 and 2, an error that names no file of the
results, and no end. Failures after the second command: an error of that command; a row, history, weight, round or
preset that is lost, additional, or different from an undisturbed command's; and a leftover file. The exit code is 1
after a failure.
"""

from __future__ import annotations

import argparse
import builtins
import errno
import io
import os
import random
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from forks import SMALL, Command, preload
from kills import PATIENCE, contents, strays

KINDS = {
    "sweep": ["-m", *SMALL, "quant=fp32,int4", "protocol.trials=1"],
    "tune": ["tune", *SMALL, "quant=int4", "--trials", "2"],
}
FAULTS = (errno.ENOSPC, errno.EIO, errno.EACCES)
CALLS = ("open", "replace", "rename", "link", "unlink", "mkdir", "rmdir", "utime", "fsync", "listdir", "scandir")


class Faults:
    """Counts the calls on the folder `home` of a command; calls `first` to `last` fail with the errno `number`."""

    def __init__(self, home: Path, first: float, last: float, number: int) -> None:
        self.home, self.first, self.last, self.number, self.count = str(home), first, last, number, 0

    def call(self, path: Any) -> None:
        """Counts one call on a path or an open file; raises OSError if this call must fail."""
        if isinstance(path, (str, os.PathLike)) and not os.path.abspath(os.fspath(path)).startswith(self.home):
            return
        self.count += 1
        if self.first <= self.count <= self.last:
            name = None if isinstance(path, int) else os.fspath(path)
            raise OSError(self.number, os.strerror(self.number), name)

    def install(self) -> None:
        """Replaces the real functions by counting ones in this process."""
        import torch

        for name in CALLS:
            setattr(os, name, self._counting(getattr(os, name)))
        torch.save = self._saving(torch.save)
        builtins.open = io.open = self._opening(io.open)  # type: ignore[assignment] - narrower than open's overloads

    def _counting(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def function(path: Any = ".", *arguments: Any, **named: Any) -> Any:
            if named.get("dir_fd") is None:
                self.call(path)
            return real(path, *arguments, **named)

        return function

    def _saving(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def save(content: Any, file: Any, *arguments: Any, **named: Any) -> None:
            if isinstance(file, (str, os.PathLike)):
                self.call(file)
            real(content, file, *arguments, **named)

        return save

    def _opening(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def opened(path: Any, mode: str = "r", *arguments: Any, **named: Any) -> Any:
            if isinstance(path, int):
                return real(path, mode, *arguments, **named)
            self.call(path)
            file = real(path, mode, *arguments, **named)
            return _Writing(file, path, self) if set(mode) & set("wax+") else file

        return opened


class _Writing:
    """An open file whose writes are counted."""

    def __init__(self, file: Any, path: Any, faults: Faults) -> None:
        self._file, self._path, self._faults = file, path, faults

    def write(self, content: Any) -> Any:
        self._faults.call(self._path)
        return self._file.write(content)

    def __enter__(self) -> _Writing:
        return self

    def __exit__(self, *error: Any) -> None:
        self._file.close()

    def __iter__(self) -> Iterator[Any]:
        return iter(self._file)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


@contextmanager
def folder(base: Path, kind: str) -> Iterator[Path]:
    """Yields a new folder for the commands of one fault, and removes it after the block."""
    home = Path(tempfile.mkdtemp(prefix=f"{kind}-", dir=base)).resolve()
    yield home
    shutil.rmtree(home)


def results_of(home: Path, kind: str) -> Path:
    return home / "results" / "tune" if kind == "tune" else home / "results"


def learn(base: Path, kind: str) -> tuple[dict[str, Any], int]:
    """Runs an undisturbed command; returns the contents of its results and its number of calls.

    Raises SystemExit if the command fails.
    """
    with folder(base, kind) as home:
        faults = Faults(home, float("inf"), float("inf"), 0)
        command = Command(home, "a", KINDS[kind], faults.install, lambda: print("calls:", faults.count, flush=True))
        if not command.wait(PATIENCE) or command.code:
            raise SystemExit(f"the undisturbed command failed:\n{command.said()}")
        return contents(results_of(home, kind)), int(command.said().rpartition("calls:")[2])


def strike(home: Path, kind: str, truth: dict[str, Any], faults: Faults) -> list[str]:
    """Runs a command with a fault, then the same command without a fault; returns one line per failure."""
    hurt = Command(home, "a", KINDS[kind], faults.install)
    wrong = []
    if not hurt.wait(PATIENCE):
        hurt.end()
        wrong.append(f"the command does not end: {hurt.said()[-300:]}")
    said = hurt.said()
    if "Traceback" in said:
        wrong.append(f"traceback: {said[said.index('Traceback') :][-1500:]}")
    elif hurt.code not in (0, 1, 2):
        wrong.append(f"exit code {hurt.code}: {said[-300:]}")
    elif hurt.code and not any("dqrun: " in line and "results" in line for line in said.splitlines()):
        wrong.append(f"no file is named: {said[-300:]}")
    again = Command(home, "b", KINDS[kind])
    if not again.wait(PATIENCE) or again.code:
        again.end()
        return [*wrong, f"the command after it ends with {again.code}: {again.said()[-500:]}"]
    results = results_of(home, kind)
    got = contents(results)
    wrong += [f"lost: {name}" for name in truth.keys() - got.keys()]
    wrong += [f"too many: {name}" for name in got.keys() - truth.keys()]
    wrong += [f"different: {name}" for name in got.keys() & truth.keys() if got[name] != truth[name]]
    return wrong + [f"left over: {name}" for name in strays(results)]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=200, help="faults in all")
    parser.add_argument("--seed", type=int, default=0, help="of the calls that fail")
    parser.add_argument("--only", choices=sorted(KINDS), help="attack one kind of command")
    options = parser.parse_args()
    preload()
    failures = 0
    kinds = [options.only] if options.only else list(KINDS)
    with tempfile.TemporaryDirectory(prefix="filesystem-") as base:
        for kind in kinds:
            chance = random.Random(f"{options.seed} {kind}")
            truth, calls = learn(Path(base), kind)
            wrong = 0
            for _ in range(options.count // len(kinds)):
                first, once, number = chance.randint(1, calls), chance.random() < 0.6, chance.choice(FAULTS)
                with folder(Path(base), kind) as home:
                    faults = Faults(home, first, first if once else float("inf"), number)
                    found = strike(home, kind, truth, faults)
                wrong += bool(found)
                where = f"{kind}, call {first}{'' if once else ' and all after it'}, {errno.errorcode[number]}"
                for line in found:
                    print(f"{where}: {line}", flush=True)
            failures += wrong
            print(f"{kind}: {options.count // len(kinds)} faults in {calls} calls, {wrong} failures", flush=True)
    print(f"faults: {options.count}, failures: {failures}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
