"""What an exported C library takes: bytes for a microcontroller, and time on one core beside the engine and PyG.

`python benchmarks/c_export.py RESULTS_DIR... [--json FILE]`, for runs of `plan=integer`; `benchmarks/tables.py` makes
the table of docs/measurements/integer_programs.md from the file. Bytes: `arm-none-eabi-size` of the object file for
`-mcpu=cortex-m4` and `-Os` (text with constants, static memory), for graphs up to the largest of the test data.
Time: all test graphs one
after the other, on one thread, the median of interleaved rounds, in CPU time, which other processes disturb least: C
(`-O3`, this machine), the Python engine, and the float32 network in PyG's layers. Features are codes for C, floats for
the others; edges are in order for the engine, not for C.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dqrun.bench.machine import describe
from dqrun.bench.peers import PyGNetwork
from dqrun.bench.timing import medians, set_threads
from dqrun.cli.verbs.exporting import Export
from dqrun.graphs import Graph, dense
from dqrun.integer.c import Library, Limits, write_library
from dqrun.integer.c.compiled import Compiled, find_compiler, own_edges, stored
from dqrun.integer.operations import Lookup
from dqrun.runs.row import read_row

ARM = ("-std=c99", "-mcpu=cortex-m4", "-mthumb", "-ffreestanding", "-Os", "-c")
FAST = ("-std=c99", "-O3")
ROUNDS = 9
Step = Callable[[], object]
One = tuple[Tensor, Graph]


def graphs(export: Export) -> list[One]:
    """The test graphs, one by one."""
    assert export.run is not None
    data, found = export.run.data(), []
    for batch in data.batches("test"):
        x, edges = dense(batch.x), batch.graph.csr.edge_index
        for i in range(batch.graph.num_graphs):
            start, stop = batch.graph.node_ptr[i : i + 2].tolist()
            inside = (edges[0] >= start) & (edges[0] < stop)
            found.append((x[start:stop], export.program.graph(edges[:, inside] - start, stop - start)))
    return found


def microcontroller(library: Library, folder: Path) -> dict[str, int | None]:
    """Bytes of code with constants, and of static memory, of an object file for a Cortex-M4; None without compiler."""
    if shutil.which("arm-none-eabi-gcc") is None:
        return {"flash": None, "ram": None}
    subprocess.run(["arm-none-eabi-gcc", *ARM, f"{library.name}.c", "-o", "m4.o"], cwd=folder, check=True)
    told = subprocess.run(["arm-none-eabi-size", "m4.o"], cwd=folder, check=True, capture_output=True, text=True)
    text, data, bss = map(int, told.stdout.splitlines()[1].split()[:3])
    return {"flash": text + data, "ram": data + bss}


def interleaved(steps: list[Step]) -> list[list[float]]:
    """CPU seconds of each step in each of ROUNDS rounds, after an untimed round."""
    seconds: list[list[float]] = [[] for _ in steps]
    for i in range(ROUNDS + 1):
        for step, found in zip(steps, seconds, strict=True):
            started = time.process_time()
            step()
            found.extend([time.process_time() - started] if i else [])
    return seconds


def in_c(compiled: Compiled, given: list[One]) -> Step:
    """A step that runs the library on all graphs; their inputs are prepared beforehand."""
    program = compiled.library.program
    first, calls = program.operations[0], []
    for x, graph in given:
        codes = x if isinstance(first, Lookup) else stored(first.run({"x": x}, graph))
        calls.append(compiled.prepared(codes, own_edges(graph.csr.edge_index, program.self_loops)))
    return lambda: [call() for call in calls]


def measure(folder: Path) -> dict[str, Any]:
    """Sizes and times of one run, from its folder."""
    export, row = Export.load(folder), read_row(folder / "row.json")
    assert export.run is not None
    given = graphs(export)
    peer = PyGNetwork(export.run.model, export.run.config.model).eval()
    pairs = [(x, own_edges(graph.csr.edge_index, export.program.self_loops), graph) for x, graph in given]
    limits = Limits(max(x.size(0) for x, _ in given), max(edges.size(1) for _, edges, _ in pairs))
    with tempfile.TemporaryDirectory() as place, torch.inference_mode():
        library = Library(export.program.with_epilogue("fixed"), limits, "net")
        write_library(library, Path(place))
        compiled = Compiled(library, Path(place), find_compiler() or "cc", FAST)
        steps: list[Step] = [
            in_c(compiled, given),
            lambda: [export.program.run(x, graph) for x, graph in given],
            lambda: [peer(x, (edges,), graph.batch, 1) for x, edges, graph in pairs],
        ]
        seconds = medians(interleaved(steps))
        bytes_ = microcontroller(library, Path(place))
    return {
        "run": f"{row['dataset']} {row['model'].upper()} {row['quant'].upper()}",
        "graphs": len(given),
        "nodes": sum(graph.num_nodes for _, graph in given),
        "max_nodes": limits.nodes,
        "max_edges": limits.edges,
        "fp32": export.run.fp32_bytes,
        **bytes_,
        **dict(zip(("c_seconds", "engine_seconds", "pyg_seconds"), seconds, strict=True)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", metavar="RESULTS_DIR")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    set_threads(1)
    found = []
    for path in sorted(path for folder in arguments.folders for path in Path(folder).glob("runs/*/model.safetensors")):
        found.append(measure(path.parent))
        print(json.dumps(found[-1]), flush=True)
    if arguments.json:
        found.sort(key=lambda line: line["run"])
        document = {"command": "benchmarks/c_export.py", "machine": describe(), "results": found}
        arguments.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
