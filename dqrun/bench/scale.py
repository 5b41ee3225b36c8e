"""Training on large graphs: the whole graph beside PyG, samples of a graph of 10^8 edges, and time against size."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from dqrun import kernels
from dqrun.bench.large_graph import ARXIV, PRODUCTS, Size, large_graph, small_graph
from dqrun.bench.peers import edge_forms
from dqrun.bench.progress import stage
from dqrun.bench.timing import Step, interleaved, medians, peak_bytes
from dqrun.bench.training import label
from dqrun.bench.workload import Workload
from dqrun.config import RunConfig
from dqrun.data.dataset import GraphDataset
from dqrun.data.trial_data import TrialData
from dqrun.methods import make_method
from dqrun.nn.build import uses_self_loops
from dqrun.runs.provenance import PeakMemory
from dqrun.training.course import Course
from dqrun.training.loop import evaluate, train_step
from dqrun.training.seeding import Streams
from dqrun.training.state import Training
from dqrun.training.tasks import Task

SIZES_OF_GROWTH = (100_000, 500_000, PRODUCTS.nodes)
SEEDS_OF_GROWTH = 256
"""Training nodes of a step in `growth`: so few that their samples hardly overlap even in the smallest graph."""
BATCHES_TIMED = 20


@dataclass(frozen=True)
class FullBatch:
    """A step on the whole graph. The ratios compare it with PyG's fastest form and its form of least memory."""

    variant: str
    step_seconds: float
    ratio_to_fastest_pyg: float
    peak_bytes: int
    ratio_to_smallest_pyg: float


@dataclass(frozen=True)
class Sampled:
    """An epoch of sampled training and an evaluation of the whole graph. `batches_per_second`: sampling alone, without
    training steps at the same time. `peak_bytes`: resident memory beyond that of the process before data generation."""

    variant: str
    batches_per_second: float
    nodes_per_batch: float
    edges_per_batch: float
    epoch_seconds: float
    evaluation_seconds: float
    data_seconds: float
    peak_bytes: int


@dataclass(frozen=True)
class Growth:
    """A sampled step including its batch, on a graph of `nodes` nodes; `ratio`: to the time on the smallest graph."""

    variant: str
    nodes: int
    edges: int
    step_seconds: float
    ratio: float


def full_batch(configs: Sequence[RunConfig], rounds: int, divisor: int, chosen: Sequence[str]) -> list[FullBatch]:
    """Steps of each configuration and of PyG in FP32, interleaved; `chosen`: the forms of edges for PyG."""
    size = ARXIV.divided(divisor)
    with stage(f"full batch: a graph of {size.nodes:,} nodes and {size.edges:,} edges", 1):
        workload = _workload(configs[0], small_graph(size))
    with kernels.use(configs[0].kernels):
        forms, _ = edge_forms([batch.graph for batch in workload.batches])
        peers: dict[str, Step] = {f"pyg_{form}": workload.peer(form) for form in forms if form in chosen}
        steps = peers | {label(config): workload.ours(config) for config in configs}
        with stage(f"full batch: {rounds} rounds of {len(steps)} variants", rounds * len(steps)) as tick:
            times = medians(interleaved(list(steps.values()), rounds, warmup=1, tick=tick))
        memory = [peak_bytes(step) for step in steps.values()]
    fastest, smallest = min(times[: len(peers)]), min(memory[: len(peers)])
    return [
        FullBatch(name, seconds, seconds / fastest, peak, peak / smallest)
        for name, seconds, peak in zip(steps, times, memory, strict=True)
    ]


def sampled(config: RunConfig, divisor: int) -> Sampled:
    """One epoch with the configuration's loader, then an evaluation of the test nodes on the whole graph."""
    size, memory, started = PRODUCTS.divided(divisor), PeakMemory(config.device), time.perf_counter()
    with stage(f"sampled: a graph of {size.nodes:,} nodes and {size.edges:,} edges", 1):
        data = _trial_data(config, large_graph(size))
        data_seconds = time.perf_counter() - started
    training, task = _training(config, data), Task.of(config.dataset)
    with kernels.use(config.kernels):
        rate, nodes, edges = _batches_per_second(data)
        started = time.perf_counter()
        with stage(f"sampled: an epoch of {data.steps_per_epoch} steps", data.steps_per_epoch) as tick:
            for batch in data.train_batches(training.streams.shuffle):
                train_step(training, batch, task)
                tick()
        epoch = time.perf_counter() - started
        started = time.perf_counter()
        with stage("sampled: the whole graph", 1):
            evaluate(training.model, data.judged("test"), task)
    seconds = time.perf_counter() - started
    return Sampled(label(config), rate, nodes, edges, epoch, seconds, data_seconds, memory.bytes() or 0)


def _batches_per_second(data: TrialData) -> tuple[float, float, float]:
    """Batches per second, and their mean numbers of nodes and edges."""
    batches = data.train_batches(torch.Generator().manual_seed(0))
    next(batches)  # untimed, because it compiles kernels
    started, count, nodes, edges = time.perf_counter(), 0, 0, 0
    for batch in itertools.islice(batches, BATCHES_TIMED):
        count, nodes, edges = count + 1, nodes + batch.graph.num_nodes, edges + batch.graph.csr.num_edges
    seconds = time.perf_counter() - started
    return count / seconds, nodes / max(count, 1), edges / max(count, 1)


def growth(config: RunConfig, rounds: int, divisor: int) -> list[Growth]:
    """Steps on graphs of growing size with the same number of edges per node, interleaved."""
    sizes = [PRODUCTS.with_nodes(nodes // divisor) for nodes in SIZES_OF_GROWTH]
    with stage(f"growth: graphs of {', '.join(f'{size.nodes:,}' for size in sizes)} nodes", 1):
        steps = [_sampled_step(config, size) for size in sizes]
    with kernels.use(config.kernels), stage(f"growth: {rounds} rounds", rounds * len(steps)) as tick:
        times = medians(interleaved(steps, rounds, tick=tick))
    lines = zip(sizes, times, strict=True)
    return [Growth(label(config), size.nodes, size.edges, seconds, seconds / times[0]) for size, seconds in lines]


def _sampled_step(config: RunConfig, size: Size) -> Step:
    """A step whose round i samples around the training nodes of seed i and trains on them, in the same thread."""
    data = _trial_data(config, large_graph(size))
    training, task = _training(config, data), Task.of(config.dataset)

    def step(i: int) -> None:
        train_step(training, data.piece(i, SEEDS_OF_GROWTH), task)

    return step


def _workload(config: RunConfig, dataset: GraphDataset) -> Workload:
    data = _trial_data(config, dataset)
    return Workload(config, data, list(data.batches("train")), Task.of(config.dataset))


def _trial_data(config: RunConfig, dataset: GraphDataset) -> TrialData:
    assert dataset.official is not None
    loops, loader = uses_self_loops(config.model), config.loader.effective
    return TrialData.build(dataset, dataset.official, config.dataset, 1, loops, config.device, loader=loader)


def _training(config: RunConfig, data: TrialData) -> Training:
    workload = Workload(config, data, [], Task.of(config.dataset))
    method, streams = make_method(config), Streams.of_seed(0, config.device)
    return Training.begin(workload.network(config).train(), method, Course.of(method, config.train), streams)
