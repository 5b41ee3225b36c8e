"""Two checkouts side by side: `python benchmarks/versus.py OLD NEW [--repeats 5] [--rounds 9] [--json FILE]`.

Runs `dqrun bench training` and `dqrun bench inference` of both checkouts, each in a process of its own with this
environment's packages, and prints the ratio new / old for each network and variant. The two processes take turns of a
second: one runs while the other is stopped (SIGSTOP), so that a machine whose speed changes in minutes is as fast for
both. A measurement during which the turn changes is far too long; it is one of `--rounds`, and the bench's median
ignores it. The speed of a process also depends on chance (places in memory): the ratio is the median over `--repeats`
pairs of processes.

PyG's variant, the same code in both and measured in the same processes, says how the machine changed: the second ratio
is divided by its ratio. Exits with 1 where the second ratio of one of dqrun's own variants is more than `--most`.
`--only WORD...`: the benches that have all these words: `--only inference gin`. `--keep FOLDER` keeps the files of the
new checkout's runs, of which `repeated.py` chooses the one that becomes a table.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import Any

from dqrun.process.interrupts import listening

BENCHES = (
    ("training", "dataset=cora", "model=gcn"),
    ("training", "dataset=cora", "model=gat"),
    ("training", "dataset=zinc", "model=gcn"),
    ("training", "dataset=zinc", "model=gin"),
    ("training", "dataset=reddit_binary", "model=gin"),
    ("inference", "graph=zinc", "model=gcn"),
    ("inference", "graph=zinc", "model=gat"),
    ("inference", "graph=zinc", "model=gin"),
)
PEER = "pyg_fp32_edge_index"
TURN_SECONDS = 1.0
Times = dict[tuple[str, str, str], float]


def measure(checkouts: Sequence[Path], words: Sequence[str], rounds: int, files: Sequence[Path]) -> list[Times]:
    """Seconds by (bench, network, variant) of one process of each checkout; `files`: for all their figures."""
    command = [sys.executable, "-m", "dqrun", "bench", *words, "threads=2", "--rounds", str(rounds), "--json"]
    with tempfile.TemporaryDirectory() as place:
        processes = [
            subprocess.Popen(
                [*command, str(file.resolve())],
                env={**os.environ, "PYTHONPATH": str(checkout)},
                cwd=place,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )
            for checkout, file in zip(checkouts, files, strict=True)
        ]
        try:
            with listening():  # else a process that is stopped would outlive this one
                take_turns(processes)
        finally:
            for process in processes:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
    for process in processes:
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, process.args)
    return [times(words[0], json.loads(file.read_text(encoding="utf-8"))["results"]) for file in files]


def take_turns(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Lets one process group run at a time, each for a second, until all have ended."""
    for process in processes:
        os.killpg(process.pid, signal.SIGSTOP)
    while waiting := [process for process in processes if process.poll() is None]:
        for process in waiting:
            os.killpg(process.pid, signal.SIGCONT)
            with suppress(subprocess.TimeoutExpired):
                process.wait(TURN_SECONDS)
                continue
            os.killpg(process.pid, signal.SIGSTOP)


def times(bench: str, results: Sequence[Mapping[str, Any]]) -> Times:
    """Seconds by (bench, network, variant) of a bench's results."""
    seconds = "step_seconds" if bench == "training" else "run_seconds"
    data = "dataset" if bench == "training" else "graph"
    return {(bench, f"{line[data]} {line['model']}", line["variant"]): line[seconds] for line in results}


def compare(
    old: Path, new: Path, words: Sequence[str], repeats: int, rounds: int, keep: Path | None = None
) -> dict[tuple[str, str, str], float]:
    """The median ratio new / old by (bench, network, variant) of both; `keep`: folder for the new figures."""
    ratios: list[Times] = []
    for turn in range(repeats):
        name = "_".join(word.rpartition("=")[2] for word in words)
        with tempfile.TemporaryDirectory() as place:
            files = Path(place) / "old.json", (keep or Path(place)) / f"{name}_{turn}.json"
            before, after = measure((old, new), words, rounds, files)
        ratios.append({name: seconds / before[name] for name, seconds in after.items() if name in before})
    return {name: median(pair[name] for pair in ratios) for name in ratios[0]}


def main(argv: Sequence[str] | None = None) -> int:
    """Prints a line per network and variant; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--only", nargs="+", default=[], metavar="WORD", help="the benches that have all these words")
    parser.add_argument("--most", type=float, default=1.03)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--keep", type=Path, metavar="FOLDER")
    arguments = parser.parse_args(argv)
    old, new, keep = arguments.old.resolve(), arguments.new.resolve(), arguments.keep and arguments.keep.resolve()
    if keep:
        keep.mkdir(parents=True, exist_ok=True)
    lines = []
    for words in (each for each in BENCHES if all(any(word in one for one in each) for word in arguments.only)):
        found = compare(old, new, words, arguments.repeats, arguments.rounds, keep)
        for (bench, network, variant), ratio in found.items():
            relative, own = ratio / found[bench, network, PEER], not variant.startswith(("pyg", "dgl"))
            print(f"{bench:9}  {network:24} {variant:20} {ratio:.3f}  {relative:.3f}", flush=True)
            lines.append(
                {"bench": bench, "network": network, "variant": variant, "own": own, "ratio": ratio}
                | {"relative": relative}
            )
    if arguments.json:
        arguments.json.write_text(json.dumps(lines, indent=1) + "\n", encoding="utf-8")
    return int(any(line["own"] and line["relative"] > arguments.most for line in lines))


if __name__ == "__main__":
    sys.exit(main())
