"""Kills a running sweep at random moments and compares what comes of it with an uninterrupted sweep, bit for bit.

    python benchmarks/kill_sweep.py [--kills 30] [--shared-kills 10] [--seed 0]

First round: one sweep, its process group killed (SIGKILL) `--kills` times; whenever it ends all the same, it is checked
and a new one begins. Second round: two sweeps share a results folder, one of them is killed now and then. Checked are
rows (but for times, memory and dates), training histories, weights (as bytes), that each trial was recorded once, and
that no file is left over. Exits with 1 at a difference. Takes some 5 minutes on two cores.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SWEEP = [
    *("-m", "dataset=threads", "dataset.graphs=40", "model=gin,gcn", "quant=fp32,int4", "method=naive,dq"),
    *("model.hidden=8", "model.layers=2", "train.epochs=12", "train.batch_size=8", "protocol.trials=3", "threads=1"),
    *("train.checkpoint_minutes=0.001", "results.dir=results"),
]
TRIALS = 18
LONGEST_WAIT = 3.0  # seconds from a sweep's plan to its end by SIGKILL
VARYING = {"seconds", "seconds_per_epoch", "peak_bytes", "finished_utc"}
FILES = {"config.yaml", "history.csv", "model.safetensors", "row.json"}


class Sweep:
    """A `dqrun -m` in a process group of its own, in the folder `home`."""

    def __init__(self, home: Path, name: str) -> None:
        self.log = home / f"{name}.log"
        self._stream = self.log.open("ab")
        self._before = self.log.stat().st_size
        self.process = subprocess.Popen(
            [sys.executable, "-m", "dqrun", *SWEEP],
            cwd=home,
            stdout=subprocess.DEVNULL,
            stderr=self._stream,
            start_new_session=True,
        )

    def wait_for_plan(self) -> None:
        """Returns when the trials are about to begin, or the sweep has ended."""
        while self.process.poll() is None and b"plan:" not in self.log.read_bytes()[self._before :]:
            time.sleep(0.01)

    def kill_after(self, seconds: float) -> bool:
        """Kills the group unless the sweep ends within that time; returns whether it was killed."""
        try:
            self.end(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self._stream.close()
            return True
        return False

    def end(self, timeout: float | None = None) -> None:
        """Waits for the sweep, which must succeed."""
        code = self.process.wait(timeout)
        self._stream.close()
        if code:
            raise SystemExit(f"a sweep ended with code {code}:\n{self.log.read_text()}")


def contents(home: Path) -> dict[str, object]:
    """What must be equal in all sweeps: of each run its row, history, weights and configuration."""
    found: dict[str, object] = {}
    for folder in sorted((home / "results" / "runs").glob("*/")):
        row = json.loads((folder / "row.json").read_text())
        history = [line.rsplit(",", 1)[0] for line in (folder / "history.csv").read_text().splitlines()]
        kept = {key: value for key, value in row.items() if key not in VARYING}
        found[folder.name] = (kept, history, *weights(folder / "model.safetensors"))
    return found


def weights(path: Path) -> tuple[object, bytes]:
    """The header of a safetensors file, whose entries come in any order, and the bytes of its tensors."""
    content = path.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    return json.loads(content[8:start]), content[start:]


def strays(home: Path) -> list[str]:
    """Files and folders that no finished sweep has."""
    results = home / "results"
    known = {".tables.lock", "summary.csv", "trials.csv", "runs"}
    found = [path for path in results.iterdir() if path.name not in known]
    for folder in (results / "runs").iterdir():
        if folder.name.startswith(".") or {path.name for path in folder.iterdir()} != FILES:
            found.append(folder)
    return [path.relative_to(results).as_posix() for path in found]


def recorded_twice(home: Path) -> list[str]:
    """Trials that more than one process says to have run to their end."""
    lines = [line for log in home.glob("*.log") for line in log.read_text().splitlines()]
    ran = [line.partition(":")[0] for line in lines if ": test " in line and "by another sweep" not in line]
    return [name for name, times in collections.Counter(ran).items() if times > 1]


def check(home: Path, truth: dict[str, object]) -> dict[str, int]:
    """Counts of what is wrong; all zero when the sweep equals the uninterrupted one."""
    got = contents(home)
    names = [line.partition(",")[0] for line in (home / "results" / "trials.csv").read_text().splitlines()[1:]]
    return {
        "missing": len(truth.keys() - got.keys()),
        "different": sum(got[name] != truth[name] for name in truth.keys() & got.keys()),
        "twice": len(names) - len(set(names)) + len(recorded_twice(home)),
        "not in table": len(got.keys() ^ set(names)),
        "stray": len(strays(home)),
    }


def killed_alone(base: Path, truth: dict[str, object], kills: int, chance: random.Random) -> dict[str, int]:
    """The first round; returns summed counts."""
    counts: collections.Counter[str] = collections.Counter()
    killed = 0
    while killed < kills or counts["sweeps"] == 0:
        home = Path(tempfile.mkdtemp(prefix="alone-", dir=base))
        while True:
            sweep = Sweep(home, "a")
            sweep.wait_for_plan()
            if killed < kills and sweep.kill_after(chance.uniform(0, LONGEST_WAIT)):
                killed += 1
                continue
            sweep.end()
            break
        counts.update({"sweeps": 1, "rows": len(contents(home)), **check(home, truth)})
    return {"kills": killed, **counts}


def killed_sharing(base: Path, truth: dict[str, object], kills: int, chance: random.Random) -> dict[str, int]:
    """The second round: two workers, one of them killed and started again, until there were enough kills."""
    counts: collections.Counter[str] = collections.Counter()
    killed = 0
    while killed < kills or counts["sweeps"] == 0:
        home = Path(tempfile.mkdtemp(prefix="shared-", dir=base))
        workers = {name: Sweep(home, name) for name in ("a", "b")}
        while killed < kills and all(worker.process.poll() is None for worker in workers.values()):
            name = chance.choice("ab")
            workers[name].wait_for_plan()
            if workers[name].kill_after(chance.uniform(0, LONGEST_WAIT)):
                killed += 1
                workers[name] = Sweep(home, name)
        for worker in workers.values():
            worker.end()
        counts.update({"sweeps": 1, "rows": len(contents(home)), **check(home, truth)})
    return {"kills": killed, **counts}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=30, help="of the sweep that runs alone")
    parser.add_argument("--shared-kills", type=int, default=10, help="of one of two sweeps on one folder")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    options = parser.parse_args()
    chance = random.Random(options.seed)
    started = time.perf_counter()
    wrong = 0
    with tempfile.TemporaryDirectory(prefix="kill-sweep-") as folder:
        base = Path(folder)
        home = base / "uninterrupted"
        home.mkdir()
        Sweep(home, "a").end()
        truth = contents(home)
        if len(truth) != TRIALS or strays(home):
            raise SystemExit(f"the uninterrupted sweep has {len(truth)} rows and leaves {strays(home)}")
        print(f"uninterrupted: {len(truth)} rows in {time.perf_counter() - started:.0f} s", flush=True)
        for title, round_, kills in (
            ("alone", killed_alone, options.kills),
            ("two workers", killed_sharing, options.shared_kills),
        ):
            counts = round_(base, truth, kills, chance)
            wrong += sum(counts[key] for key in ("missing", "different", "twice", "not in table", "stray"))
            print(f"{title}: " + ", ".join(f"{value} {key}" for key, value in counts.items()), flush=True)
    print(f"{'EQUAL' if not wrong else 'DIFFERENT'} after {time.perf_counter() - started:.0f} s")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
