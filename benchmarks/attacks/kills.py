"""Kills and stops commands at random moments and compares what comes of them with commands that were left alone.

    python benchmarks/attacks/kills.py [--count 300] [--seed 0] [--only plain|parallel|tune|rerun] [--keep DIR]

Attacked are a plain sweep, a parallel one, a search and a sweep with rerun=true. At a random moment the command gets
SIGKILL, SIGTERM, or SIGSTOP, and in that case a second command begins on its folder and takes over what it has locked;
then the first gets SIGCONT, and both must end well. A killed command is started again. When a command ends by itself,
its folder is compared with the undisturbed one, and a new folder begins.

Failures: a row, history, weight, round or preset that is lost or differs, a trial that is recorded twice, a file or
process that is left over, an exit code that is not the expected one, a traceback. Exits with 1 when there was one.
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
"""Seconds after which a command counts as one that never ends."""
VARYING = {"seconds", "seconds_per_epoch", "setup_seconds", "peak_bytes", "finished_utc", "git_revision"}
FILES = {"config.yaml", "history.csv", "model.safetensors", "row.json"}
TOP = {"runs", "summary.csv", "trials.csv", "studies", "configs"}


def contents(results: Path) -> dict[str, Any]:
    """What must be equal in all folders: of each run its row, history, weights; of a search its rounds and presets."""
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
    """Files and folders that no finished command has."""
    found = [path for path in results.iterdir() if path.name not in TOP]
    for folder in (results / "runs").iterdir():
        if folder.name.startswith(".") or {path.name for path in folder.iterdir()} != FILES:
            found.append(folder)
    found += [path for path in results.glob("studies/*/*") if not path.name.startswith("round-")]
    return [path.relative_to(results).as_posix() for path in found]


def twice(home: Path) -> list[str]:
    """Trials that more than one process says to have run to their end."""
    lines = [line for log in home.glob("*.log") for line in log.read_text(errors="replace").splitlines()]
    ran = [line.partition(":")[0] for line in lines if ": test " in line and "by another sweep" not in line]
    return [name for name, times in collections.Counter(ran).items() if times > 1]


def tabled(results: Path) -> set[str]:
    """Names of the trials in trials.csv."""
    lines = (results / "trials.csv").read_text(encoding="utf-8").splitlines()[1:]
    return {line.partition(",")[0] for line in lines}


@dataclass
class Attack:
    """Attacks on one kind of command; `wrong` has a line for each failure."""

    kind: str
    base: Path
    chance: random.Random
    truth: dict[str, Any] = field(default_factory=dict)
    longest: float = 0.0
    """Seconds that the command takes when it is left alone."""
    wrong: list[str] = field(default_factory=list)
    counts: collections.Counter[str] = field(default_factory=collections.Counter)

    def results(self, home: Path) -> Path:
        """The folder with the rows of this kind."""
        return home / "results" / "tune" if self.kind == "tune" else home / "results"

    def fail(self, *lines: str) -> None:
        """Counts and prints failures."""
        self.wrong += lines
        for line in lines:
            print(f"{self.kind}: {line}", flush=True)

    def learn(self) -> None:
        """Runs the command undisturbed."""
        home = self.new_home()
        started = time.monotonic()
        command = self.start(home)
        if not command.wait(PATIENCE) or command.code or strays(self.results(home)):
            raise SystemExit(f"the undisturbed command failed ({command.code}):\n{command.said()}")
        self.longest = time.monotonic() - started
        self.truth = contents(self.results(home))

    def new_home(self) -> Path:
        """A folder for the next commands; a rerun needs rows to begin with."""
        home = Path(tempfile.mkdtemp(prefix=f"{self.kind}-", dir=self.base))
        if self.kind == "rerun":
            command = Command(home, "first", KINDS["plain"])
            assert command.wait(PATIENCE) and command.code == 0, command.said()
            (home / "first.log").unlink()
        return home

    def start(self, home: Path, name: str = "a") -> Command:
        return Command(home, name, KINDS[self.kind])

    def run(self, count: int) -> None:
        """Attacks `count` times, in as many folders as that takes."""
        while self.struck < count:
            home = self.new_home()
            while self.struck < count and not self.strike(home):
                continue
            self.finish(home)
            print(f"{self.kind}: {self.struck} attacks so far, {len(self.wrong)} failures", file=sys.stderr, flush=True)

    @property
    def struck(self) -> int:
        """Signals sent so far."""
        return sum(self.counts[name] for name in SIGNALS)

    def strike(self, home: Path) -> bool:
        """Attacks the command once, unless it ends before; returns whether it has run to its end."""
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
        """Stops the command and its workers while another begins, and lets it go on while that runs or has ended."""
        command.signal(signal.SIGSTOP, group=True)
        other = self.start(home, "b")
        other.wait(STALE + self.chance.uniform(0, 2 * self.longest))
        command.signal(signal.SIGCONT, group=True)
        for process in (command, other):
            if not process.wait(PATIENCE):
                self.fail(f"SIGSTOP: a command does not end: {process.said()[-500:]}")
            self.check_end(process, 0)

    def check_end(self, command: Command, code: int | None) -> None:
        """Looks at what each command must do however it ends."""
        said = command.said()
        if command.code != code:
            self.fail(f"exit code {command.code}: {said[-500:]}")
        if "Traceback" in said:
            self.fail(f"traceback: {said[-1500:]}")
        if left := command.left():
            self.fail(f"{len(left)} processes are left")
        command.end()

    def finish(self, home: Path) -> None:
        """Lets the command run to its end and compares."""
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
