"""A training step of each bit-width and method beside the same network in PyG and DGL."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

from dqrun import kernels
from dqrun.bench.dgl_peer import reads_plain_edges
from dqrun.bench.peer_runs import BF16, BF16_FORMS, DGL, attempt, fp32_peers, variants
from dqrun.bench.peers import edge_forms
from dqrun.bench.progress import stage
from dqrun.bench.timing import Step, interleaved, medians, peak_bytes, set_threads, shares
from dqrun.bench.workload import Workload
from dqrun.config import RunConfig
from dqrun.process.memory import keep_freed_memory


@dataclass(frozen=True)
class Measured:
    """One variant. `step_seconds` is a median; `peak_bytes`: peak memory beyond that before the step."""

    variant: str
    dataset: str
    model: str
    step_seconds: float
    ratio_to_fastest_fp32_peer: float  # PyG's or DGL's
    peak_bytes: int
    form: str = ""  # a peer's form of edges
    shares: dict[str, float] = field(default_factory=dict)  # of a step's time, by operation


@dataclass(frozen=True)
class Pipeline:
    """The time to prepare an epoch's batches: shuffling, collecting features and CSR, drawing protection."""

    dataset: str
    model: str
    batches_seconds: float
    share_of_epoch: float  # for the fastest of dqrun's variants
    left_out: dict[str, str] = field(default_factory=dict)  # reason for each peer that does not work here


def label(config: RunConfig) -> str:
    """The variant's name: `fp32`, `dq_int4`."""
    return "fp32" if config.quant.is_fp32 else f"{config.method.name}_{config.quant.label}"


def compare(configs: Sequence[RunConfig], rounds: int) -> tuple[list[Measured], Pipeline]:
    """Measures the variants of one dataset and architecture, FP32 among them, and the peers' forms of it."""
    keep_freed_memory()  # for PyG's steps as well
    first = configs[0]
    set_threads(first.threads)
    names = first.dataset.name, first.model.name
    title = ", ".join(names)
    with stage(f"{title}: reading data", 1):
        workload = Workload.prepare(first)
    with kernels.use(first.kernels):
        peers, left_out = peer_steps(workload)
        steps: dict[str, Step] = peers | {label(config): workload.ours(config) for config in configs}
        with stage(f"{title}: {rounds} rounds of {len(steps)} variants", rounds * len(steps)) as tick:
            times = dict(zip(steps, medians(interleaved(list(steps.values()), rounds, tick=tick)), strict=True))
        chosen = variants({name: times[name] for name in peers}) | {label(config): label(config) for config in configs}
        base = min(times[name] for name in fp32_peers(peers))
        measured = []
        with stage(f"{title}: memory and shares of {len(chosen)} variants", len(chosen)) as tick:
            for variant, name in chosen.items():
                form, seconds, step = name if name in peers else "", times[name], steps[name]
                peak, parts = peak_bytes(step), shares(step)
                measured.append(Measured(variant, *names, seconds, seconds / base, peak, form, parts))
                tick()
        batches = workload.pipeline_seconds(configs[-1])
    fastest = min(times[label(config)] for config in configs) * workload.data.steps_per_epoch
    return measured, Pipeline(*names, batches, batches / (batches + fastest), left_out)


def peer_steps(workload: Workload) -> tuple[dict[str, Step], dict[str, str]]:
    """Steps of the peers by name, as in `peer_runs`, and the reason for each that was left out."""
    graph = workload.batches[0].graph
    forms, left_out = edge_forms([batch.graph for batch in workload.batches])
    steps: dict[str, Step] = {form: workload.peer(form) for form in forms}
    if reads_plain_edges(graph):
        attempt(steps, left_out, DGL, lambda: workload.peer(DGL))
    for form in BF16_FORMS:
        if form in steps:
            attempt(steps, left_out, form + BF16, partial(workload.peer, form, bf16=True))
    return steps, left_out
