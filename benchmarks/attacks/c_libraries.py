"""Exported C libraries under sanitizers: `python benchmarks/attacks/c_libraries.py [--count N] [--seed S]`.

The script exports small networks (GCN, GIN, GraphSAGE, GAT; 8, 4 and 3 bits; node and graph tasks) as C libraries for
small graphs. It compiles them with the address and undefined-behaviour sanitizers and runs at least N random graphs in
all. Valid graphs include empty graphs, single nodes, multigraphs with self-loops, and nodes with the largest permitted
degree. Invalid graphs have too many nodes or edges, negative numbers of nodes or edges, edges to nodes that do not
exist, a degree above the limit, or an input (a code or category) outside its range.

A failure is a report of a sanitizer, a signal, a wrong status, or logits that differ from those of the Python program.
The exit code is 1 after a failure. Without gcc and clang the script runs nothing and exits with 0.
"""

from __future__ import annotations

import argparse
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dqrun.composition.compose import load_configs
from dqrun.integer.c import Library, Limits, write_library
from dqrun.integer.c.compiled import FLAGS, stored
from dqrun.integer.lower import lower
from dqrun.integer.operations import INPUT, Lookup
from dqrun.integer.structure import build_graph
from dqrun.nn.build import build_model, uses_self_loops

DRIVER = Path(__file__).with_name("c_driver.c")
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g")
LIMITS = Limits(nodes=24, edges=60, degree=17)
CHANNELS, CLASSES, CATEGORIES = 5, 3, 4
OK, TOO_MANY_NODES, TOO_MANY_EDGES, EDGE_OUT_OF_RANGE, DEGREE_TOO_LARGE, INPUT_OUT_OF_RANGE = 0, 2, 3, 4, 5, 6

SMALL = ("plan=integer", "method=naive", "model.hidden=6", "model.layers=2", "model.head=[1]")
NETWORKS: dict[str, tuple[str, ...]] = {
    "gcn_int8": ("dataset=cora", "model=gcn", "quant=int8", "model.norm=batch", "model.residual=true"),
    "gcn_int4": ("dataset=reddit_binary", "model=gcn", "quant=int4"),
    "gin_int8": ("dataset=reddit_binary", "model=gin", "quant=int8", "model.mlp_norm=true", "model.readout=max"),
    "gin_int4": ("dataset=zinc", "model=gin", "quant=int4", "quant.weight_granularity=channel"),
    "sage_int8": ("dataset=cora", "model=sage", "quant=int8"),
    "sage_int4": ("dataset=zinc", "model=sage", "quant=int4", "model.readout=sum"),
    "gat_int8": ("dataset=reddit_binary", "model=gat", "quant=int8", "model.heads=2"),
    "gat_int3": ("dataset=cora", "model=gat", "quant=int4", "quant.bits=3", "model.heads=2", "model.out_heads=3"),
}


@dataclass(frozen=True)
class Case:
    """A valid or invalid graph and the expected result.

    `nodes`, `edges`: the numbers that the library gets. `given`: the input, codes or categories. `edge_index`: int64
    [2, E]. `status`: the expected status. `logits`: the expected logits; for an invalid graph only their number counts.
    """

    nodes: int
    edges: int
    given: Tensor
    edge_index: Tensor
    status: int
    logits: Tensor


def make_library(name: str, limits: Limits = LIMITS) -> Library:
    """Builds a network with random weights, calibrates its quantisers on random graphs, and returns its library."""
    (config,) = load_configs([*NETWORKS[name], *SMALL])
    categories = CATEGORIES if "dataset=zinc" in NETWORKS[name] else 0
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build_model(config, 0 if categories else CHANNELS, categories, CLASSES)
        for parameter in model.parameters():
            if parameter.dim() == 1:  # random biases keep hidden states from being always zero
                torch.nn.init.normal_(parameter, 0.0, 0.5)
        for _ in range(3):
            x = torch.randint(categories, (60,)) if categories else torch.randn(60, CHANNELS)
            edge_index, batch = torch.randint(60, (2, 200)), torch.arange(60) // 20
            model(x, build_graph(edge_index, 60, batch, uses_self_loops(config.model)))
    return Library(lower(model.eval()).with_epilogue("fixed"), limits, name)


def cases(library: Library, count: int, seed: int) -> Iterator[Case]:
    """Yields `count` cases, at least three: an empty graph, a single node, a hub, then random graphs.

    On average, one random graph in four is invalid. The same seed gives the same cases.
    """
    draw = random.Random(f"{library.name} {seed}")
    yield good(library, draw, 0, [])
    yield good(library, draw, 1, [])
    yield hub(library, draw)
    for _ in range(max(count - 3, 0)):
        yield bad(library, draw) if draw.random() < 0.25 else graph(library, draw)


def graph(library: Library, draw: random.Random) -> Case:
    nodes = draw.choice([1, 2, draw.randint(1, library.limits.nodes), library.limits.nodes])
    most = draw.choice([0, 3, library.limits.edges])
    edges = [(draw.randrange(nodes), draw.randrange(nodes)) for _ in range(most)]
    limit = library.max_degree - library.program.self_loops
    kept = [edge for i, edge in enumerate(edges) if sum(t == edge[1] for _, t in edges[:i]) < limit]
    return good(library, draw, nodes, kept)


def hub(library: Library, draw: random.Random) -> Case:
    """Returns a graph in which node 0 has the largest permitted number of incoming edges."""
    most = min(library.max_degree - library.program.self_loops, library.limits.edges)
    return good(library, draw, library.limits.nodes, [(1 + i % (library.limits.nodes - 1), 0) for i in range(most)])


def good(library: Library, draw: random.Random, nodes: int, edges: Sequence[tuple[int, int]]) -> Case:
    """Returns a valid graph with random input and the logits of the Python program."""
    program, index = library.program, torch.tensor(edges, dtype=torch.int64).view(-1, 2).T
    first = program.operations[0]
    generator = torch.Generator().manual_seed(draw.randrange(2**31))
    if isinstance(first, Lookup):
        given = x = torch.randint(first.table.num_rows, (nodes,), generator=generator)
    else:
        x = 2 * torch.randn(nodes, first.channels, generator=generator)
        given = stored(first.run({INPUT: x}, None))
    logits = program.trace(x, program.graph(index, nodes))["logits"]
    return Case(nodes, len(edges), given, index, OK, logits)


def bad(library: Library, draw: random.Random) -> Case:
    """Returns a case that the library must refuse without reading past the end of the memory that it gets."""
    limits, case = library.limits, graph(library, draw)
    kinds = [TOO_MANY_NODES, TOO_MANY_EDGES, EDGE_OUT_OF_RANGE]
    kinds += [DEGREE_TOO_LARGE] if library.needs_root else []
    kinds += [INPUT_OUT_OF_RANGE] if library.checks_codes or case.given.dtype == torch.int64 else []
    kind = draw.choice(kinds)
    if kind == TOO_MANY_NODES:
        return replace(case, nodes=draw.choice([-1, limits.nodes + 1, 2**31 - 1, -(2**31)]), status=kind)
    if kind == TOO_MANY_EDGES:
        return replace(case, edges=draw.choice([-1, limits.edges + 1, 2**31 - 1, -(2**31)]), status=kind)
    if kind == DEGREE_TOO_LARGE:
        crowded = hub(library, draw)
        edges = torch.cat([crowded.edge_index, torch.tensor([[1], [0]])], 1)
        return replace(crowded, edges=edges.size(1), edge_index=edges, status=kind)
    if kind == INPUT_OUT_OF_RANGE:
        case.given.view(-1)[-1] = draw.choice([CATEGORIES, -1]) if case.given.dtype == torch.int64 else 255
        return replace(case, status=kind)
    edges = torch.cat([case.edge_index[:, : limits.edges - 1], torch.zeros(2, 1, dtype=torch.int64)], 1)
    edges[draw.randrange(2), -1] = draw.choice([-1, case.nodes, 2**31 - 1, -(2**31)])
    return replace(case, edges=edges.size(1), edge_index=edges, status=kind)


def written(case: Case) -> bytes:
    """Returns the bytes of a case in the format that `c_driver.c` reads."""
    given = case.given.numpy()
    content = given.astype(np.int32).tobytes() if given.dtype == np.int64 else given.tobytes()
    edges, count = case.edge_index.numpy().astype(np.int32), case.logits.numel()
    numbers = np.array([case.nodes, case.edges, len(content)], dtype=np.int32).tobytes()
    rest = np.array([edges.shape[1]], dtype=np.int32).tobytes() + edges.tobytes()
    return numbers + content + rest + np.array([count], dtype=np.int32).tobytes()


def build(library: Library, folder: Path, command: Sequence[str]) -> Path:
    """Compiles the library and the driver into one program and returns the path of that program.

    `command`: the compiler and its flags. Raises CalledProcessError, which holds the compiler's output.
    """
    write_library(library, folder)
    program, header = folder / "driver", folder / f"{library.name}.h"
    words = ["-include", str(header), f"-DPREFIX={library.name}", "-o", str(program)]
    source = folder / f"{library.name}.c"
    subprocess.run([*command, *words, str(DRIVER), str(source)], check=True, capture_output=True, text=True)
    return program


def failures(command: Sequence[str], tried: Sequence[Case]) -> list[str]:
    """Runs the driver on cases and returns one line per unexpected result; only one line if the driver itself fails."""
    done = subprocess.run(command, input=b"".join(map(written, tried)), capture_output=True, timeout=600)
    if done.returncode:
        lines = done.stderr.decode(errors="replace").splitlines()
        return [next((line for line in lines if "error" in line.lower()), f"exit code {done.returncode}")]
    numbers, found = np.frombuffer(done.stdout, dtype=np.int32), []
    for i, case in enumerate(tried):
        status, numbers = (int(numbers[0]), numbers[1:]) if len(numbers) else (None, numbers)
        count = case.logits.numel() if status == OK else 0
        logits, numbers = numbers[:count], numbers[count:]
        if status != case.status:
            found.append(f"graph {i}: status {status}, expected {case.status}")
        elif status == OK and not np.array_equal(logits, case.logits.numpy().ravel()):
            found.append(f"graph {i}: logits {logits.tolist()}, expected {case.logits.ravel().tolist()}")
    return found


def main(count: int, seed: int) -> int:
    """Runs at least `count` graphs in all and returns the exit code."""
    compiler = shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        print("there is no gcc or clang: nothing was run")
        return 0
    share, wrong, refused = -(-count // len(NETWORKS)), [], 0
    for name in NETWORKS:
        library = make_library(name)
        tried = list(cases(library, share, seed))
        refused += sum(case.status != OK for case in tried)
        with tempfile.TemporaryDirectory() as folder:
            program = build(library, Path(folder), [compiler, *FLAGS, *SANITIZERS])
            wrong += [f"{name}: {line}" for line in failures([str(program)], tried)]
    print(f"{share * len(NETWORKS)} graphs, {refused} of them bad, {len(NETWORKS)} libraries: {len(wrong)} failures")
    print(*wrong[:20], sep="\n", end="\n" if wrong else "")
    return int(bool(wrong))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    words = parser.parse_args()
    sys.exit(main(words.count, words.seed))
