"""Integer kernels beside the same operations in float32 torch: `python benchmarks/integer_kernels.py [THREADS]`.

200,000 nodes, 2,000,000 edges with power-law in-degrees, 128 channels. Prints medians, the minimal traffic of an
operation per second (bytes read and written, each gathered row once per edge), its ratio to the measured bandwidth of a
copy, and the speed-up over float32 (torch; for attention dqrun's float32 kernels). Versions run in turn.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
import torch

from dqrun import kernels
from dqrun.graphs import CSR
from dqrun.kernels import integer
from dqrun.kernels.integer import CodeGrid, Codes, Epilogue, Weight

NODES, EDGES, CHANNELS, ROUNDS = 200_000, 2_000_000, 128, 15

Operation = Callable[[], object]


def medians(operations: list[Operation]) -> list[float]:
    """Median seconds of each operation; rounds are interleaved, so that a slow machine slows all operations."""
    seconds: list[list[float]] = [[] for _ in operations]
    for round_ in range(ROUNDS + 2):
        for operation, taken in zip(operations, seconds, strict=True):
            start = time.perf_counter()
            operation()
            if round_ >= 2:  # the first two compile and fill caches
                taken.append(time.perf_counter() - start)
    return [statistics.median(taken) for taken in seconds]


def power_law_graph() -> CSR:
    """In random order, the k-th node receives edges with a probability proportional to k^-0.7; sources are uniform."""
    generator = np.random.default_rng(0)
    share = np.arange(1, NODES + 1) ** -0.7
    targets = generator.permutation(NODES)[generator.choice(NODES, EDGES, p=share / share.sum())]
    sources = generator.integers(0, NODES, EDGES)
    return CSR.from_edge_index(torch.from_numpy(np.stack([sources, targets])), NODES)


def report(name: str, float32: Operation, ours: dict[int, tuple[Operation, float]], bandwidth: float) -> None:
    """Measures and prints one operation; `ours`: (operation, bytes of its traffic) by width of codes."""
    base, *taken = medians([float32, *(operation for operation, _ in ours.values())])
    print(f"{name:24}  float32 {base * 1e3:7.1f} ms")
    for bits, seconds, (_, traffic) in zip(ours, taken, ours.values(), strict=True):
        rate = traffic / seconds / 1e9
        print(
            f"{'':20}int{bits}  {'':7} {seconds * 1e3:7.1f} ms  {base / seconds:5.1f} x  "
            f"{rate:5.1f} GB/s  {rate / bandwidth:4.2f} of a copy"
        )


def main() -> None:
    torch.set_num_threads(int(sys.argv[1]) if len(sys.argv) > 1 else 2)
    csr, x, w = power_law_graph(), torch.randn(NODES, CHANNELS), torch.randn(CHANNELS, CHANNELS)
    target = torch.empty_like(x)
    bandwidth = 2 * x.nbytes / medians([lambda: target.copy_(x)])[0] / 1e9
    print(f"{torch.get_num_threads()} threads, copy {bandwidth:.1f} GB/s (read and written)")
    adjacency = torch.sparse_csr_tensor(csr.rowptr, csr.col, torch.ones(EDGES), (NODES, NODES), check_invariants=False)
    grids = {bits: CodeGrid(bits, 8 / 2**bits, 2 ** (bits - 1)) for bits in (8, 4)}
    codes = {bits: integer.quantize(x, grid) for bits, grid in grids.items()}
    weight = Weight(torch.randint(-127, 128, (CHANNELS, CHANNELS), dtype=torch.int8))
    norm = torch.rand(NODES, dtype=torch.float64)
    how = {b: Epilogue(torch.full((1,), 0.01, dtype=torch.float64), norm, grid=grid) for b, grid in grids.items()}

    def each(operation: Callable[[Codes, Epilogue], object], passes: float) -> dict[int, tuple[Operation, float]]:
        """The operation by width; `passes`: its traffic in multiples of the bytes of the codes."""
        return {b: (lambda b=b: operation(codes[b], how[b]), passes * codes[b].nbytes) for b in codes}

    gathered = EDGES / NODES + 1
    quantizers: dict[int, tuple[Operation, float]] = {
        b: (lambda b=b: integer.quantize(x, grids[b]), x.nbytes + codes[b].nbytes) for b in grids
    }
    report("quantize", lambda: x.clone(), quantizers, bandwidth)
    report("linear 128 x 128", lambda: x @ w, each(lambda c, e: integer.linear(c, weight, e), 2), bandwidth)
    report(
        "aggregate", lambda: adjacency @ x, each(lambda c, e: integer.aggregate(csr, c, None, e), gathered), bandwidth
    )
    for heads in (8, 1):
        a = torch.randn(2, heads, CHANNELS // heads)
        rows = x.view(NODES, heads, -1)

        def float_attention(rows: torch.Tensor = rows, a: torch.Tensor = a) -> torch.Tensor:
            source, target = (rows * a[0]).sum(-1), (rows * a[1]).sum(-1)
            logits = torch.nn.functional.leaky_relu(source[csr.col] + target[csr.row], 0.2)
            return kernels.spmm(csr, rows, kernels.edge_softmax(csr, logits))

        def attend(c: Codes, e: Epilogue, a: torch.Tensor = a) -> object:
            return integer.attention(csr, c, a[0], a[1], 0.2, True, e)

        report(f"attention, {heads} x {CHANNELS // heads}", float_attention, each(attend, gathered), bandwidth)


if __name__ == "__main__":
    main()
