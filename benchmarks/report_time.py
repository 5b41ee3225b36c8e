"""Times `dqrun compare`, `dqrun report` and the writing of tables on results folders of many runs.

    python benchmarks/report_time.py [--runs 500 5000] [--keep FOLDER]

Trains a few configurations for an epoch on a graph of 300 nodes, copies each of these runs under other learning rates
and seeds, with a history of 200 epochs, and prints the seconds of each command, run in a process of its own, and its
seconds of CPU, which other work on the machine changes little. Before that, what a sweep does in such a folder: all
tables from the run folders, and the tables again when one trial has come.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import yaml

from dqrun.composition.compose import load_configs
from dqrun.sweep.run import run_all

SEEDS, EPOCHS, NODES = 10, 200, 300
METHODS = ("quant=fp32", "quant=int8 method=naive", "quant=int8 method=dq", "quant=int4 method=naive", "quant=int4")


def train(root: Path) -> list[Path]:
    """Trains one run per model and method for one epoch; returns their folders."""
    write_graph(root / "graph")
    common = [f"results.dir={root / 'templates'}", "dataset=folder", f"dataset.path={root / 'graph'}"]
    common += [
        "dataset.name=graph",
        "dataset.task=node_classification",
        "protocol.trials=1",
        "threads=1",
        "train.epochs=1",
    ]
    configs = [
        config
        for model in ("gcn", "gin")
        for method in METHODS
        for config in load_configs([*common, f"model={model}", *method.split()])
    ]
    if run_all(configs, quiet=True) != 0:
        raise SystemExit("a training failed")
    return sorted(path for path in (root / "templates" / "runs").iterdir() if path.name[0] != ".")


def write_graph(folder: Path) -> None:
    """Writes a graph with hubs: node i has edges from about 300 / (i + 1) others."""
    generator = np.random.default_rng(0)
    folder.mkdir(parents=True)
    nodes = [f"{i},{i % 3},{('train', 'val', 'test')[i % 3]},{generator.random():.3f},{i % 3}" for i in range(NODES)]
    (folder / "nodes.csv").write_text("\n".join(["node,label,split,a,b", *nodes]) + "\n", encoding="utf-8")
    edges = {(int(s), i) for i in range(NODES) for s in generator.choice(NODES, NODES // (i + 1) + 1) if s != i}
    lines = [f"{source},{target}" for source, target in sorted(edges)]
    (folder / "edges.csv").write_text("\n".join(["source,target", *lines]) + "\n", encoding="utf-8")


def multiply(templates: list[Path], count: int, results: Path) -> None:
    """Copies runs until there are `count`: SEEDS trials of each configuration, which differ in their learning rate."""
    generator = np.random.default_rng(1)
    for number in range(count):
        cell, seed = divmod(number, SEEDS)
        source = templates[cell % len(templates)]
        row = json.loads((source / "row.json").read_text(encoding="utf-8"))
        config = yaml.load((source / "config.yaml").read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
        config["train"]["lr"] = 0.001 * (1 + cell // len(templates))
        row |= {"seed": seed, "config_hash": f"{number:064x}", "cell_hash": f"{cell:064x}", "run_id": f"run-{number}"}
        row |= {"test_metric": round(float(generator.random()), 3)}
        folder = results / "runs" / row["run_id"]
        shutil.copytree(source, folder)
        (folder / "row.json").write_text(json.dumps(row), encoding="utf-8")
        (folder / "config.yaml").write_text(yaml.dump(config, sort_keys=False), encoding="utf-8")
        lines = [f"{e},{2 / e + generator.random():.6f},{2 / e:.6f},0.5,0.01,0.1" for e in range(1, EPOCHS + 1)]
        text = "\n".join(["epoch,train_loss,val_loss,val_metric,lr,seconds", *lines]) + "\n"
        (folder / "history.csv").write_text(text, encoding="utf-8")


def tables(results: Path) -> None:
    """Prints the time of making the tables, of adding one trial to them, and the memory of both."""
    code = (
        "import shutil, sys, time; from pathlib import Path; from dqrun.runs.store import Results\n"
        "results = Results(sys.argv[1])\n"
        "def timed(what):\n"
        "    wall, cpu = time.perf_counter(), time.process_time()\n"
        "    assert results.rebuild_tables() == []\n"
        "    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu\n"
        "    print(f'{sys.argv[2]} runs: {what} {wall:.2f} s, {cpu:.2f} s of CPU')\n"
        "timed('tables')\n"
        "one = results.runs / 'run-new'\n"
        "text = (results.runs / 'run-0' / 'row.json').read_text().replace('\"run-0\"', '\"run-new\"')\n"
        "one.mkdir(); (one / 'row.json').write_text(text); timed('one trial more'); shutil.rmtree(one)\n"
        "peak = next(line for line in Path('/proc/self/status').read_text().splitlines() if line.startswith('VmHWM'))\n"
        "print(f'both: {int(peak.split()[1]) // 1024} MiB')\n"
    )
    subprocess.run([sys.executable, "-c", code, str(results), results.name.rpartition("-")[2]], check=True)


def main() -> int:
    """Prints the measurements for each number of runs; returns 0."""
    parser = argparse.ArgumentParser(description="times dqrun compare and dqrun report")
    parser.add_argument("--runs", type=int, nargs="+", default=[500, 5000])
    parser.add_argument("--keep", type=Path, help="a folder that keeps the results folders")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        root = arguments.keep or Path(scratch)
        templates = train(root)
        for count in arguments.runs:
            results = root / f"results-{count}"
            multiply(templates, count, results)
            tables(results)
            for words in (["compare", str(results)], ["report", str(results), "-o", str(root / f"{count}.html")]):
                start, used = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
                command = [sys.executable, "-m", "dqrun", *words]
                subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                wall, now = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
                cpu = now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime
                print(f"{count} runs: dqrun {words[0]} {wall:.1f} s, {cpu:.1f} s of CPU", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
