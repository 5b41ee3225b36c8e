"""Two checkouts side by side: `python benchmarks/versus.py OLD NEW [--repeats 5] [--rounds 9] [--json FILE]`.

Runs `dqrun bench training` and `dqrun bench inference` of both checkouts in turn, in the order old, new, new, old, ...,
each in a process of its own with the packages of this environment, and prints for each network and variant the ratio of
the medians, new / old. PyG's variant, the same code in both and measured in the same processes, says how the machine
changed: the second ratio is divided by its ratio. Exits with 1 where the second ratio of one of dqrun's own variants is
more than `--most`. `--only WORD...`: the benches that have all these words: `--only inference gin`. `--keep FOLDER`
keeps the files of the new checkout's runs, of which `repeated.py` chooses the one that becomes a table.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

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
Times = dict[tuple[str, str, str], float]


def measure(checkout: Path, words: Sequence[str], rounds: int, keep: Path | None) -> Times:
    """Seconds by (bench, network, variant) of one process of a checkout; `keep`: the file for all its figures."""
    with tempfile.TemporaryDirectory() as place:
        file = keep or Path(place) / "bench.json"
        command = [sys.executable, "-m", "dqrun", "bench", *words, "threads=2", "--rounds", str(rounds)]
        environment = {**os.environ, "PYTHONPATH": str(checkout)}
        subprocess.run(
            [*command, "--json", str(file)], check=True, env=environment, cwd=place, stdout=subprocess.DEVNULL
        )
        results = json.loads(file.read_text(encoding="utf-8"))["results"]
    seconds = "step_seconds" if words[0] == "training" else "run_seconds"
    data = "dataset" if words[0] == "training" else "graph"
    return {(words[0], f"{line[data]} {line['model']}", line["variant"]): line[seconds] for line in results}


def compare(
    old: Path, new: Path, words: Sequence[str], repeats: int, rounds: int, keep: Path | None = None
) -> dict[tuple[str, str, str], float]:
    """The ratio new / old of the medians, by (bench, network, variant) of both; `keep`: folder for the new figures."""
    times: Mapping[Path, list[Times]] = {old: [], new: []}
    for turn in range(repeats):
        for checkout in (old, new) if turn % 2 == 0 else (new, old):
            name = "_".join(word.rpartition("=")[2] for word in words)
            file = keep / f"{name}_{turn}.json" if keep and checkout == new else None
            times[checkout].append(measure(checkout, words, rounds, file))
    names = [name for name in times[old][0] if all(name in one for one in times[new])]
    return {name: median(one[name] for one in times[new]) / median(one[name] for one in times[old]) for name in names}


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
