"""Kernels' cost by graph size and shape: `python benchmarks/scaling.py [--edges N,...] [--threads N] [--json FILE]`.

Nodes are a tenth of the edges; 16 channels, 4 heads of logits. "uniform": both ends of an edge are drawn evenly;
"power law": the k-th node receives edges with a probability proportional to k^-0.7; "hub": uniform, but half of all
edges enter one node and half of all edges, others in part, leave it, and one segment has half of all rows. The three
take turns in each round; medians. Prints Markdown: ns per node and edge, and the time on the hub graph over that on the
uniform one.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
from tables import scaling_table
from torch import Tensor

from dqrun import kernels
from dqrun.bench.machine import describe
from dqrun.graphs import CSR
from dqrun.process.memory import keep_freed_memory

CHANNELS, HEADS, SEGMENT = 16, 4, 100
ROUNDS, BUDGET, FEWEST = 15, 1.0, 3  # most rounds; seconds after which no further round starts; fewest rounds

Operation = Callable[[], object]


def graphs(num_edges: int) -> dict[str, tuple[CSR, Tensor]]:
    """The graph of each shape, and the row pointers of segments of its nodes, int64 [S + 1]."""
    num_nodes, generator = num_edges // 10, torch.Generator().manual_seed(0)
    uniform = torch.randint(num_nodes, (2, num_edges), generator=generator)
    power_law, hub = uniform.clone(), uniform.clone()
    shares = torch.arange(1, num_nodes + 1, dtype=torch.float64).pow(-0.7).cumsum(0)
    drawn = torch.rand(num_edges, dtype=torch.float64, generator=generator) * shares[-1]
    ranks = torch.searchsorted(shares, drawn).clamp(max=num_nodes - 1)
    power_law[1] = torch.randperm(num_nodes, generator=generator)[ranks]
    hub[1, : num_edges // 2] = num_nodes // 3
    hub[0, num_edges // 4 : num_edges * 3 // 4] = num_nodes // 2
    even = torch.arange(0, num_nodes + 1, SEGMENT)
    middle = (even > num_nodes // 4) & (even < num_nodes * 3 // 4)  # boundaries inside the large segment
    shapes = {"uniform": (uniform, even), "power law": (power_law, even), "hub": (hub, even[~middle])}
    return {name: (CSR.from_edge_index(edges, num_nodes), ptr) for name, (edges, ptr) in shapes.items()}


def forward_and_backward(function: Callable[..., Tensor], *inputs: Tensor) -> Operation:
    """An operation that runs the function forward and backward, with gradients for all inputs."""
    leaves = [x.clone().requires_grad_() for x in inputs]
    grad = torch.randn_like(function(*leaves))
    return lambda: torch.autograd.grad(function(*leaves), leaves, grad)


def operations(csr: CSR, ptr: Tensor) -> Iterator[tuple[str, Operation]]:
    """All kernels on one graph, with GCN's edge weights, four bits, and a tenth of the rows protected."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(csr.num_nodes, CHANNELS, generator=generator)
    keep = torch.rand(csr.num_nodes, generator=generator) < 0.1
    weight, linear = csr.symmetric_weight, torch.randn(CHANNELS, CHANNELS, generator=generator)
    logits = torch.randn(csr.num_edges, HEADS, generator=generator)
    grid = torch.tensor(0.3), torch.tensor(1, dtype=torch.int32), -8, 7
    small = torch.tensor(0.03), *grid[1:]  # messages are smaller than features
    last = keep, "clipped"
    yield "fake_quantize", forward_and_backward(lambda a: kernels.fake_quantize(a, *grid, *last), x)
    yield "tail_range", lambda: kernels.tail_range(x, 0.001)
    yield "tail_range, weighted", lambda: kernels.tail_range(x, 0.001, csr.out_degree, keep)
    yield "message_range", lambda: kernels.message_range(csr, x, weight, 0.001, keep)
    yield "spmm", forward_and_backward(lambda a: kernels.spmm(csr, a), x)
    yield "spmm_quantized", forward_and_backward(lambda a: kernels.spmm_quantized(csr, a, weight, *small, *last), x)
    yield "edge_softmax", forward_and_backward(lambda a: kernels.edge_softmax(csr, a), logits)
    for mode in ("sum", "max"):
        reduce = partial(kernels.segment_reduce, ptr=ptr, mode=mode)
        yield f"segment_reduce, {mode}", forward_and_backward(reduce, x)
    yield "linear", forward_and_backward(lambda a, w: kernels.linear(a, w, None, True), x, linear)


def measure(versions: dict[str, Operation]) -> dict[str, float]:
    """Median seconds of each operation; rounds are interleaved, so that a slow machine slows all operations."""
    seconds: dict[str, list[float]] = {name: [] for name in versions}
    for operation in versions.values():
        operation()  # compiles and fills caches
    started = time.perf_counter()
    for done in range(ROUNDS):
        if done >= FEWEST and time.perf_counter() - started > BUDGET:
            break
        for name, operation in versions.items():
            begin = time.perf_counter()
            operation()
            seconds[name].append(time.perf_counter() - begin)
    return {name: statistics.median(taken) for name, taken in seconds.items()}


def sizes(num_edges: int) -> Iterator[dict[str, object]]:
    """The measurements of each kernel and shape."""
    made = {name: operations(*graph) for name, graph in graphs(num_edges).items()}
    for versions in zip(*made.values(), strict=True):
        kernel = versions[0][0]
        taken = measure({shape: operation for shape, (_, operation) in zip(made, versions, strict=True)})
        for shape, seconds in taken.items():
            yield {"kernel": kernel, "edges": num_edges, "shape": shape, "seconds": seconds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--edges", default="10000,100000,1000000,10000000")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="write the figures here; those of other sizes in the file are kept")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    keep_freed_memory()
    numbers = [int(number) for number in arguments.edges.split(",")]
    lines = [line for number in numbers for line in sizes(number)]
    if arguments.json is not None and arguments.json.exists():
        before = json.loads(arguments.json.read_text())["results"]
        lines = [*(line for line in before if line["edges"] not in numbers), *lines]
    document = {"machine": describe(), "results": lines}
    print(scaling_table(document))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
