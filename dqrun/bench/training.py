"""A training step of each bit-width and method beside the same network in PyG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from dqrun import kernels
from dqrun.bench.peers import edge_forms
from dqrun.bench.progress import stage
from dqrun.bench.timing import Step, interleaved, medians, peak_bytes, set_threads, shares
from dqrun.bench.workload import Workload
from dqrun.config import RunConfig
from dqrun.process.memory import keep_freed_memory


@dataclass(frozen=True)
class Measured:
    """One variant. `step_seconds` is a median; `peak_bytes` is the most that a step holds beyond its start."""

    variant: str
    dataset: str
    model: str
    step_seconds: float
    ratio_to_pyg_fp32: float  # to the faster of the two PyG variants
    peak_bytes: int
    form: str = ""  # how a PyG variant takes its edges
    shares: dict[str, float] = field(default_factory=dict)  # of a step's time, by operation


@dataclass(frozen=True)
class Pipeline:
    """What an epoch's batches cost: shuffling, collecting features and CSR, drawing protection."""

    dataset: str
    model: str
    batches_seconds: float
    share_of_epoch: float  # of the fastest variant of our own


def label(config: RunConfig) -> str:
    """The variant's name: `fp32`, `dq_int4`."""
    return "fp32" if config.quant.is_fp32 else f"{config.method.name}_{config.quant.label}"


def compare(configs: Sequence[RunConfig], rounds: int) -> tuple[list[Measured], Pipeline]:
    """Measures the variants of one dataset and architecture, FP32 among them, and PyG's forms of it."""
    keep_freed_memory()  # for PyG's steps as well
    first = configs[0]
    set_threads(first.threads)
    names = first.dataset.name, first.model.name
    title = ", ".join(names)
    with stage(f"{title}: reading data", 1):
        workload = Workload.prepare(first)
    forms = edge_forms(workload.batches[0].graph)
    with kernels.use(first.kernels):
        steps: dict[str, Step] = {form: workload.peer(form) for form in forms}
        steps |= {label(config): workload.ours(config) for config in configs}
        with stage(f"{title}: {rounds} rounds of {len(steps)} variants", rounds * len(steps)) as tick:
            times = dict(zip(steps, medians(interleaved(list(steps.values()), rounds, tick=tick)), strict=True))
        csr = min(forms[1:], key=times.__getitem__)
        pyg = {"pyg_fp32_edge_index": "edge_index", "pyg_fp32_csr": csr}
        base = min(times[form] for form in pyg.values())
        variants, measured = (*pyg, *map(label, configs)), []
        with stage(f"{title}: memory and shares of {len(variants)} variants", len(variants)) as tick:
            for variant in variants:
                form = pyg.get(variant, "")
                seconds, step = times[form or variant], steps[form or variant]
                peak, parts = peak_bytes(step), shares(step)
                measured.append(Measured(variant, *names, seconds, seconds / base, peak, form, parts))
                tick()
        batches = workload.pipeline_seconds(configs[-1])
    fastest = min(times[label(config)] for config in configs) * workload.data.steps_per_epoch
    return measured, Pipeline(*names, batches, batches / (batches + fastest))
