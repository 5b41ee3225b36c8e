"""Measures one program on the user's graphs beside ONNX Runtime, dqrun's FP32 network, PyG and DGL."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from dqrun.bench.peer_runs import Inputs, Run, attempt, fp32_peers, peer_runs, require_agreement, variants
from dqrun.bench.peers import edge_index_of
from dqrun.bench.progress import stage
from dqrun.bench.subject import Subject
from dqrun.bench.timing import interleaved, peak_bytes
from dqrun.data.unlabelled import Unlabelled
from dqrun.graphs import Graph, dense
from dqrun.integer import Program
from dqrun.integer.operations import INPUT, Value

MOST_BATCHES = 32  # different batches, which the rounds use in turn
ONNX = "onnx"


@dataclass(frozen=True)
class Measured:
    """One variant: seconds of a batch (median and 95th percentile), items (graphs, or nodes of a node task) per second.

    `peak_bytes`: peak memory of a run without input and weights; None for ONNX Runtime, which has its own allocator.
    `form`: a peer's form of edges. `from_edge_index`: whether the run includes sorting PyG's `edge_index`; otherwise
    edges are sorted before the run. `speedup_vs_fastest_fp32_peer`: None without such a peer.
    """

    variant: str
    graph: str
    model: str
    run: str
    batch_size: int
    threads: int
    run_seconds: float
    p95_seconds: float
    items_per_second: float
    speedup_vs_fastest_fp32_peer: float | None
    peak_bytes: int | None
    from_edge_index: bool
    form: str = ""


@dataclass(frozen=True)
class OperationTime:
    """One operation of a program: median seconds of a batch, and its share of the sum of all."""

    kind: str
    target: str
    seconds: float
    share: float


@dataclass
class Notes:
    """Further results of a comparison."""

    weights: str = ""
    left_out: dict[str, str] = field(default_factory=dict)
    largest_difference_to_peers: float | None = None
    onnx_difference_in_steps: float | None = None
    operations: list[OperationTime] = field(default_factory=list)


@dataclass(frozen=True)
class Batches:
    """The first batches of some graphs. `items`: number of graphs or nodes per batch; `inputs`: dense `x` and structure
    with sorted edges per batch."""

    name: str
    size: int
    items: list[int]
    inputs: list[tuple[Tensor, Graph]]

    @classmethod
    def of(cls, subject: Subject, graphs: Unlabelled, size: int) -> Batches:
        """At most MOST_BATCHES batches of `size` graphs; raises DataError if they lack the program's features."""
        dataset, predictor = graphs.dataset, subject.predictor
        features = predictor.rule.apply(dataset)
        packed = predictor.rule.structure(dataset, predictor.self_loops)
        inputs = []
        for first in range(0, min(dataset.num_graphs, MOST_BATCHES * size), size):
            graph, nodes = packed.gather(torch.arange(first, min(first + size, dataset.num_graphs)))
            x = dense(features.gather(nodes))
            subject.program.check_features(x)
            inputs.append((x, graph))
        items = [graph.num_graphs if predictor.graph_level else graph.num_nodes for _, graph in inputs]
        return cls(dataset.name, size, items, inputs)


@torch.no_grad()
def compare(subject: Subject, batches: Batches, rounds: int, profile: bool) -> tuple[list[Measured], Notes]:
    """Measures the program, its other forms and its peers; with `profile` also each operation of the program.

    Raises DqrunError if an FP32 peer and dqrun's FP32 network do not agree.
    """
    notes, title = Notes(), f"{subject.run or subject.quant} on {batches.name}"
    with stage(f"{title}: making networks", 1):
        ours, raw = program_runs(subject, batches, notes)
        peers = peers_of(subject, batches, notes)
    runs = {**ours, **peers}
    for run in runs.values():
        run(0)
    with stage(f"{title}: {rounds} rounds of {len(runs)} variants", rounds * len(runs)) as tick:
        seconds = dict(zip(runs, interleaved(list(runs.values()), rounds, 1, tick), strict=True))
    medians = {name: statistics.median(each) for name, each in seconds.items()}
    chosen = {name: name for name in ours} | variants({n: s for n, s in medians.items() if n in peers and n != "fp32"})
    chosen |= {"fp32": "fp32"} if "fp32" in peers else {}
    fastest = min((medians[name] for name in fp32_peers(peers) if name != "fp32"), default=None)
    measured = [
        Measured(
            variant=variant,
            graph=batches.name,
            model=subject.model,
            run=subject.run,
            batch_size=batches.size,
            threads=torch.get_num_threads(),
            run_seconds=medians[name],
            p95_seconds=percentile(seconds[name], 95),
            items_per_second=rate(batches.items, seconds[name]),
            speedup_vs_fastest_fp32_peer=None if fastest is None else fastest / medians[name],
            peak_bytes=None if name == ONNX else peak_bytes(runs[name]),
            from_edge_index=name in raw,
            form="" if name in ours or name == "fp32" else name,
        )
        for variant, name in chosen.items()
    ]
    if profile:
        with stage(f"{title}: operations", rounds) as tick:
            notes.operations = operation_times(subject.program, batches.inputs, rounds, tick)
    return measured, notes


def program_runs(subject: Subject, batches: Batches, notes: Notes) -> tuple[dict[str, Run], set[str]]:
    """Runs of the program with sorted edges, with `edge_index`, and in ONNX Runtime, and which begin with `edge_index`.

    With edge weights only the first is made. Adds to `notes` why others are left out, and the difference to ONNX.
    """
    program, count = subject.program, len(batches.inputs)
    raw = [edge_index_of(graph) for _, graph in batches.inputs]

    def ordered(i: int) -> Tensor:
        return program.run(*batches.inputs[i % count])

    def unordered(i: int) -> Tensor:
        x, graph = batches.inputs[i % count]
        return program(x, raw[i % count], graph.batch if program.signature.graph_level else None)

    if any(graph.edge_weight is not None for _, graph in batches.inputs):
        notes.left_out[ONNX] = "a program that reads edge weights has no ONNX form"
        return {subject.quant: ordered}, set()
    runs: dict[str, Run] = {subject.quant: ordered, f"{subject.quant}_edge_index": unordered}

    def in_onnx() -> Run:
        from dqrun.integer.onnx import Session

        session = Session(program, threads=torch.get_num_threads())
        return lambda i: session(batches.inputs[i % count][0], raw[i % count], batches.inputs[i % count][1].batch)

    attempt(runs, notes.left_out, ONNX, in_onnx)
    if ONNX in runs:
        apart = (runs[ONNX](0).double() - ordered(0).double()).abs() / program.output_step
        notes.onnx_difference_in_steps = float(apart.max())
    return runs, set(runs) - {subject.quant}


def peers_of(subject: Subject, batches: Batches, notes: Notes) -> dict[str, Run]:
    """Runs of the FP32 network in dqrun (`fp32`) and of its peers; none if the network is not known.

    Raises DqrunError if they do not agree.
    """
    if subject.fp32 is None or subject.config is None:
        notes.left_out["fp32 and its peers"] = subject.without
        return {}
    fp32, count = subject.fp32, len(batches.inputs)
    notes.weights = subject.weights
    runs, left_out = peer_runs(Inputs(subject.config, fp32, batches.inputs), compiled=False)
    notes.left_out |= left_out

    def own(i: int) -> Tensor:
        logits: Tensor = fp32(*batches.inputs[i % count])
        return logits

    notes.largest_difference_to_peers = require_agreement(own(0), runs)
    return {**runs, "fp32": own}


def operation_times(
    program: Program, inputs: list[tuple[Tensor, Graph]], rounds: int, tick: Callable[[], object]
) -> list[OperationTime]:
    """Times of the single operations, in the order of a run; unlike a run, this keeps all intermediate values."""
    seconds: list[list[float]] = [[] for _ in program.operations]
    for i in range(rounds + 1):
        x, graph = inputs[i % len(inputs)]
        values: dict[str, Value] = {INPUT: x}
        for place, operation in enumerate(program.operations):
            started = time.perf_counter()
            values[operation.target] = operation.run(values, graph)
            if i:  # the first round loads kernels
                seconds[place].append(time.perf_counter() - started)
        tick()
    found = [statistics.median(each) for each in seconds]
    total = sum(found)
    return [
        OperationTime(type(operation).__name__.lower(), operation.target, each, each / total)
        for operation, each in zip(program.operations, found, strict=True)
    ]


def percentile(seconds: list[float], share: int) -> float:
    """The nearest-rank percentile: at least `share` percent of the times do not exceed it."""
    return sorted(seconds)[-(-share * len(seconds) // 100) - 1]


def rate(items: list[int], seconds: list[float]) -> float:
    """Items per second over all rounds; round i used batch i modulo the number of batches."""
    return sum(items[i % len(items)] for i in range(len(seconds))) / sum(seconds)
