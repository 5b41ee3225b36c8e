"""Kills and stops commands at random moments and compares their results with those of undisturbed commands.

    python benchmarks/attacks/kills.py [--count 300] [--seed 0] [--only plain|parallel|tune|rerun] [--keep DIR]

The script attacks a plain sweep, a parallel sweep, a search and a sweep with rerun=true. At a random moment the command
gets SIGKILL, SIGTERM or SIGSTOP. After SIGKILL or SIGTERM the script starts the command again in the same folder. After
SIGSTOP it starts a second command in the same folder, which can take over the locks of the first; later the first gets
SIGCONT, and both must end well. After that, or when a command has ended by itself, the command runs once more without a
signal. Then the script compares the folder with that of an undisturbed command and begins a new folder.

Failures: a row, history, weight, round or preset that is lost, additional or different, a trial that a plain or
parallel sweep records twice, a run that is not in the table or the reverse, a leftover file or process, a command that
does not end, an unexpected exit code, and a traceback. The exit code is 1 after a failure.
"""

from __future__ import annotations

import argparse
import collections
import json
import random
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from forks import SMALL, STALE, Command, preload

TRIALS = ["quant=fp32,int4", "protocol.trials=2"]
KINDS: dict[str, list[str]] = {
    "plain": ["-m", *SMALL, *TRIALS],
    "rerun": ["-m", *SMALL, *TRIALS, "rerun=true"],
    "tune": ["tune", *SMALL, "quant=int4", "method=naive,dq", "--trials", "3"],
    "parallel": ["-m", *SMALL, *TRIALS, "launcher=parallel", "jobs=2"],
}
SHARES = {"plain": 0.34, "rerun": 0.22, "tune": 0.28, "parallel": 0.16}
SIGNALS = {"SIGKILL": 0.5, "SIGTERM": 0.25, "SIGSTOP": 0.25}
PATIENCE = 300.0
"""Seconds after which a command counts as one that does not end."""
VARYING = {"seconds", "seconds_per_epoch", "setup_seconds", "peak_bytes", "finished_utc", "git_revision"}
FILES = {"config.yaml", "history.csv", "model.safetensors", "row.json"}
TOP = {"runs", "summary.csv", "trials.csv", "studies", "configs"}


def contents(results: Path) -> dict[str, Any]:
    """Returns the content that must be equal in all folders, by name, without times and other values that vary.

    For each run: its row, its history and the last 1,000 bytes of its weights. For a search: its rounds and presets.
    """
    found: dict[str, Any] = {}
    for folder in sorted((results / "runs").glob("*/")):
        row = json.loads((folder / "row.json").read_text(encoding="utf-8"))
        lines = (folder / "history.csv").read_text(encoding="utf-8").splitlines()
        kept = {key: value for key, value in row.items() if key not in VARYING}
        history = [line.rpartition(",")[0] for line in lines]
        found[folder.name] = (kept, history, (folder / "model.safetensors").read_bytes()[-1000:])
    for path in [*results.glob("studies/*/*"), *results.glob("configs/experiment/*")]:
        text = path.read_text(encoding="utf-8")
        found[path.name] = [line for line in text.splitlines() if not line.startswith("#")]
    return found


def strays(results: Path) -> list[str]:
    """Returns the paths, relative to `results`, of files and folders that a finished command does not leave."""
    found = [path for path in results.iterdir() if path.name not in TOP]
    for folder in (results / "runs").iterdir():
        if folder.name.startswith(".") or {path.name for path in folder.iterdir()} != FILES:
            found.append(folder)
    found += [path for path in results.glob("studies/*/*") if not path.name.startswith("round-")]
    return [path.relative_to(results).as_posix() for path in found]


def twice(home: Path) -> list[str]:
    """Returns the names of trials that the logs in `home` report more than once as run to the end."""
    lines = [line for log in home.glob("*.log") for line in log.read_text(errors="replace").splitlines()]
    ran = [line.partition(":")[0] for line in lines if ": test " in line and "by another sweep" not in line]
    return [name for name, times in collections.Counter(ran).items() if times > 1]


def tabled(results: Path) -> set[str]:
    """Returns the names of the trials in trials.csv."""
    lines = (results / "trials.csv").read_text(encoding="utf-8").splitlines()[1:]
    return {line.partition(",")[0] for line in lines}


@dataclass
class Attack:
    """The attacks on one kind of command. `truth`: the contents of an undisturbed folder. `wrong`: a line per failure.

    `counts`: the number of sent signals by name, and of compared folders.
    """

    kind: str
    base: Path
    chance: random.Random
    truth: dict[str, Any] = field(default_factory=dict)
    longest: float = 0.0
    """Seconds that the undisturbed command takes."""
    wrong: list[str] = field(default_factory=list)
    counts: collections.Counter[str] = field(default_factory=collections.Counter)

    def results(self, home: Path) -> Path:
        """Returns the results folder of this kind of command."""
        return home / "results" / "tune" if self.kind == "tune" else home / "results"

    def fail(self, *lines: str) -> None:
        """Counts and prints failures."""
        self.wrong += lines
        for line in lines:
            print(f"{self.kind}: {line}", flush=True)

    def learn(self) -> None:
        """Runs the command undisturbed and sets `truth` and `longest`; raises SystemExit if the command fails."""
        home = self.new_home()
        started = time.monotonic()
        command = self.start(home)
        if not command.wait(PATIENCE) or command.code or strays(self.results(home)):
            raise SystemExit(f"the undisturbed command failed ({command.code}):\n{command.said()}")
        self.longest = time.monotonic() - started
        self.truth = contents(self.results(home))

    def new_home(self) -> Path:
        """Creates a folder for the next commands; for a rerun, a plain sweep writes the first rows into it."""
        home = Path(tempfile.mkdtemp(prefix=f"{self.kind}-", dir=self.base))
        if self.kind == "rerun":
            command = Command(home, "first", KINDS["plain"])
            assert command.wait(PATIENCE) and command.code == 0, command.said()
            (home / "first.log").unlink()
        return home

    def start(self, home: Path, name: str = "a") -> Command:
        return Command(home, name, KINDS[self.kind])

    def run(self, count: int) -> None:
        """Sends `count` signals and begins as many folders as needed."""
        while self.struck < count:
            home = self.new_home()
            while self.struck < count and not self.strike(home):
                continue
            self.finish(home)
            print(f"{self.kind}: {self.struck} attacks so far, {len(self.wrong)} failures", file=sys.stderr, flush=True)

    @property
    def struck(self) -> int:
        """The number of signals sent so far, without SIGCONT."""
        return sum(self.counts[name] for name in SIGNALS)

    def strike(self, home: Path) -> bool:
        """Starts the command and attacks it once, unless it ends before the random moment.

        Returns whether the command has run to its end: True without a signal and after SIGSTOP, else False.
        """
        command = self.start(home)
        if command.wait(self.chance.uniform(0, self.longest)):
            self.check_end(command, 0)
            return True
        name = self.chance.choices(list(SIGNALS), list(SIGNALS.values()))[0]
        self.counts[name] += 1
        if name == "SIGSTOP":
            self.stop_and_go_on(home, command)
            return True
        command.signal(getattr(signal, name))
        if not command.wait(PATIENCE):
            self.fail(f"{name}: the command does not end")
        elif command.code not in {"SIGKILL": (-9, 0), "SIGTERM": (143, 0)}[name]:
            self.fail(f"{name}: exit code {command.code}: {command.said()[-500:]}")
        self.check_end(command, command.code)
        return False

    def stop_and_go_on(self, home: Path, command: Command) -> None:
        """Stops the command and its workers, starts a second command, lets the first continue and waits for both.

        The first continues after a random time; the second may still run at this moment.
        """
        command.signal(signal.SIGSTOP, group=True)
        other = self.start(home, "b")
        other.wait(STALE + self.chance.uniform(0, 2 * self.longest))
        command.signal(signal.SIGCONT, group=True)
        for process in (command, other):
            if not process.wait(PATIENCE):
                self.fail(f"SIGSTOP: a command does not end: {process.said()[-500:]}")
            self.check_end(process, 0)

    def check_end(self, command: Command, code: int | None) -> None:
        """Checks a command: exit code `code`, no traceback, no processes left. Then kills processes that are left."""
        said = command.said()
        if command.code != code:
            self.fail(f"exit code {command.code}: {said[-500:]}")
        if "Traceback" in said:
            self.fail(f"traceback: {said[-1500:]}")
        if left := command.left():
            self.fail(f"{len(left)} processes are left")
        command.end()

    def finish(self, home: Path) -> None:
        """Runs the command to its end and compares the folder with the undisturbed one; removes it if they agree."""
        command = self.start(home)
        if not command.wait(PATIENCE):
            self.fail("the command does not end")
        self.check_end(command, 0)
        results = self.results(home)
        got = contents(results)
        self.counts["folders"] += 1
        before = len(self.wrong)
        self.fail(*(f"lost: {name}" for name in self.truth.keys() - got.keys()))
        self.fail(*(f"too many: {name}" for name in got.keys() - self.truth.keys()))
        both = got.keys() & self.truth.keys()
        self.fail(*(f"different: {name}" for name in both if got[name] != self.truth[name]))
        self.fail(*(f"left over: {name}" for name in strays(results)))
        if self.kind in ("plain", "parallel"):
            self.fail(*(f"recorded twice: {name}" for name in twice(home)))
        runs = {folder.name for folder in (results / "runs").glob("*/")}
        self.fail(*(f"not in the table: {name}" for name in runs ^ tabled(results)))
        if len(self.wrong) == before:
            shutil.rmtree(home)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--count", type=int, default=300, help="attacks in all; kinds with a share below a half are left out"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the moments and signals")
    parser.add_argument("--only", choices=sorted(KINDS), help="attack one kind of command")
    parser.add_argument("--keep", metavar="DIR", help="where folders with failures stay (default: nowhere)")
    options = parser.parse_args()
    preload()
    wrong = 0
    with tempfile.TemporaryDirectory(prefix="kills-") as folder:
        base = Path(options.keep or folder)
        base.mkdir(parents=True, exist_ok=True)
        for kind in [options.only] if options.only else KINDS:
            count = options.count if options.only else round(options.count * SHARES[kind])
            if not count:
                continue
            attack = Attack(kind, base, random.Random(f"{options.seed} {kind}"))
            attack.learn()
            attack.run(count)
            wrong += len(attack.wrong)
            told = ", ".join(f"{number} {name}" for name, number in sorted(attack.counts.items()))
            print(f"{kind}: {count} attacks ({told}), {len(attack.wrong)} failures", flush=True)
    print(f"attacks: {options.count}, failures: {wrong}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
