"""Whole networks from float input to logits: integer programs beside FP32, our own and PyG's forms of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from dqrun import kernels
from dqrun.bench.peers import EDGE_FORMS, PyGNetwork, edge_forms
from dqrun.bench.power_law import power_law_edges
from dqrun.bench.progress import stage
from dqrun.bench.timing import Step, interleaved, medians, peak_bytes
from dqrun.bench.traffic import copy_bandwidth, moved_bytes
from dqrun.composition.compose import load_configs
from dqrun.config import RunConfig
from dqrun.data.dataset import load_dataset
from dqrun.data.features import FeatureRule
from dqrun.data.splits import split_for
from dqrun.errors import DqrunError
from dqrun.graphs import Graph
from dqrun.integer import Program
from dqrun.integer.lower import lower
from dqrun.integer.structure import build_graph
from dqrun.nn import GNN
from dqrun.nn.build import build_model, reads_edge_features, reads_edge_weights, uses_self_loops

GRAPHS = ("powerlaw", "zinc", "reddit_binary")
NODES, EDGES, CHANNELS, CLASSES = 200_000, 2_000_000, 128, 40  # of powerlaw
ZINC_GRAPHS = 10_000
COMPILED_FORMS = ("edge_index", "adj_t")
WIDTHS = ("int8", "int4")
TOLERANCE = 1e-3  # of the largest logit: how far two FP32 networks may be apart by the order of their sums

Run = Callable[[], Tensor]


@dataclass(frozen=True)
class Measured:
    """One variant. `run_seconds` is a median; `form`: how a PyG variant takes its edges. `peak_bytes`: the most that a
    run holds beyond input and weights. `fraction_of_bandwidth_bound`: time of moving the bytes that the network must
    move at the speed of a copy, over the time of the run."""

    variant: str
    graph: str
    model: str
    run_seconds: float
    speedup_vs_fastest_pyg_fp32: float
    speedup_vs_pyg_edge_index: float
    speedup_vs_own_fp32: float
    peak_bytes: int
    fraction_of_bandwidth_bound: float
    form: str = ""


@dataclass(frozen=True)
class Workload:
    """A graph or batch with features, and the network that runs on it."""

    config: RunConfig
    x: Tensor
    graph: Graph
    shapes: dict[str, Any]  # by the names of `build_model`'s arguments

    @classmethod
    def prepare(cls, graph: str, model: str) -> Workload:
        """The graph and the paper's network for it, or three layers of 128 channels on `powerlaw`."""
        dataset = "cora" if graph == "powerlaw" else graph
        words = [f"dataset={dataset}", f"model={model}", "plan=integer", "method=naive", "quant=int8"]
        (config,) = load_configs(words)
        self_loops = uses_self_loops(config.model)
        if graph == "powerlaw":
            wide = replace(config.model, layers=3, hidden=CHANNELS, heads=8)  # of layers that have some
            x = torch.randn(NODES, CHANNELS, generator=torch.Generator().manual_seed(0))
            structure = build_graph(power_law_edges(NODES, EDGES), NODES, None, self_loops)
            return cls(
                replace(config, model=wide),
                x,
                structure,
                {"in_channels": CHANNELS, "num_categories": 0, "out_channels": CLASSES},
            )
        data = load_dataset(config.dataset, config.data)
        fold = None if config.protocol.name == "seeds" else 0
        rule = FeatureRule.fit(data, split_for(data, config.protocol, fold), config.dataset)
        rule = rule.reading(reads_edge_weights(config.model), reads_edge_features(config.model))
        packed = rule.structure(data, self_loops)
        chosen = torch.arange(min(data.num_graphs, ZINC_GRAPHS))
        structure, node_index = packed.gather(chosen)
        features = rule.apply(data)
        shapes = {
            "in_channels": features.in_channels,
            "num_categories": features.num_categories,
            "out_channels": data.num_classes or 1,
            "edge_channels": rule.edge_channels,
            "edge_categories": rule.edge_categories,
        }
        return cls(config, features.gather(node_index), structure, shapes)

    def network(self, quant: str) -> GNN:
        """The network at a bit-width; weights are the same at all, ranges and batch statistics those of the graph."""
        widths = {"fp32": None, "int8": 8, "int4": 4}[quant]
        bits = replace(self.config.quant, bits=widths, weight_bits=widths, activation_bits=widths)
        torch.manual_seed(0)
        model = build_model(replace(self.config, quant=bits), **self.shapes)
        with torch.no_grad(), kernels.use("auto"):
            for module in model.modules():
                if isinstance(module, torch.nn.BatchNorm1d):
                    module.momentum = None  # the plain mean of what it sees: after one batch, that batch's statistics
            model.train()(self.x, self.graph)
        return model.eval()


def compare(graph: str, model: str, rounds: int) -> tuple[list[Measured], dict[str, Any]]:
    """Measures all variants of one network; the second result tells bandwidth, agreement and what was left out.

    Raises DqrunError when the FP32 networks of PyG and our own do not agree.
    """
    with stage(f"{graph}, {model}: reading data, making networks", 1):
        workload = Workload.prepare(graph, model)
        fp32 = workload.network("fp32")
        programs = {quant: lower(workload.network(quant)) for quant in WIDTHS}
    with stage(f"{graph}, {model}: compiling PyG's networks", 1):
        peers, notes = pyg_runs(workload, fp32)
    ours: dict[str, Run] = {"fp32": lambda: fp32(workload.x, workload.graph)}
    for quant, program in programs.items():
        ours[quant] = _program_run(program, workload)
    with torch.inference_mode():
        notes["largest_difference_to_pyg"] = require_agreement(ours["fp32"](), peers)
        runs = {**peers, **ours}
        steps = [_step(run) for run in runs.values()]
        for quant in WIDTHS:
            ours[quant]()  # loads its kernels; the others have run for the check
        with stage(f"{graph}, {model}: {rounds} rounds of {len(runs)} variants", rounds * len(runs)) as tick:
            seconds = dict(zip(runs, medians(interleaved(steps, rounds, warmup=0, tick=tick)), strict=True))
        chosen = variants(seconds)
        peaks = {name: peak_bytes(_step(runs[name])) for name in chosen.values()}
    bandwidth = notes["copy_bytes_per_second"] = copy_bandwidth()
    moved = {quant: moved_bytes(program, workload.graph, floats=False) for quant, program in programs.items()}
    moved_floats = moved_bytes(programs["int8"], workload.graph, floats=True)
    fastest = min(seconds[name] for name in peers)
    measured = [
        Measured(
            variant=variant,
            graph=graph,
            model=model,
            run_seconds=seconds[name],
            speedup_vs_fastest_pyg_fp32=fastest / seconds[name],
            speedup_vs_pyg_edge_index=seconds["edge_index"] / seconds[name],
            speedup_vs_own_fp32=seconds["fp32"] / seconds[name],
            peak_bytes=peaks[name],
            fraction_of_bandwidth_bound=moved.get(name, moved_floats) / bandwidth / seconds[name],
            form=name if name in peers else "",
        )
        for variant, name in chosen.items()
    ]
    return measured, notes


def pyg_runs(workload: Workload, fp32: GNN) -> tuple[dict[str, Run], dict[str, Any]]:
    """PyG's network over each form of edges, and compiled where a compiler works; notes say where it does not."""
    notes: dict[str, Any] = {}
    runs: dict[str, Run] = {}
    for form in edge_forms(workload.graph):
        run, _ = pyg_run(workload, fp32, form)
        runs[form] = without_inference_mode(run) if form == "EdgeIndex" else run
    for form in (form for form in COMPILED_FORMS if form in runs):
        run, network = pyg_run(workload, fp32, form)
        try:
            with torch.inference_mode():
                run()  # fills GCN's cache, which is no work of a run
                network.compile()
                run()
        except Exception as error:  # no compiler, or an operation that it does not know: any kind of error
            notes[f"{form}_compiled"] = f"{type(error).__name__}: {error}".splitlines()[0]
            continue
        runs[f"{form}_compiled"] = run
    return runs, notes


def pyg_run(workload: Workload, fp32: GNN, form: str) -> tuple[Run, PyGNetwork]:
    """A network of its own for a form of edges: one with a cache runs over the first form that it sees."""
    graph = workload.graph
    network = PyGNetwork(fp32, workload.config.model, graph.num_graphs == 1, graph.edge_weight is not None).eval()
    edges, batch, size = EDGE_FORMS[form](graph), graph.batch, graph.num_graphs

    def run() -> Tensor:
        logits: Tensor = network(workload.x, edges, batch, size)
        return logits

    return run, network


def without_inference_mode(run: Run) -> Run:
    """A run under `no_grad` alone: PyG's EdgeIndex does not work in inference mode."""

    def plain() -> Tensor:
        with torch.inference_mode(False), torch.no_grad():
            return run()

    return plain


def require_agreement(expected: Tensor, peers: dict[str, Run]) -> float:
    """The largest difference of a logit of PyG's to our own FP32, as a share of the largest logit."""
    largest = 0.0
    for form, run in peers.items():
        apart = float((run() - expected).abs().max() / expected.abs().max())
        if not apart <= TOLERANCE:
            raise DqrunError(f"PyG's network over {form} differs by {apart:.2g} of the largest logit from our own")
        largest = max(largest, apart)
    return largest


def variants(seconds: dict[str, float]) -> dict[str, str]:
    """Variant -> the run that stands for it: the faster of the CSR forms, the faster of the compiled ones."""
    compiled = [name for name in seconds if name.endswith("_compiled")]
    csr = [form for form in EDGE_FORMS if form in seconds and form != "edge_index"]
    chosen = {"pyg_fp32_edge_index": "edge_index", "pyg_fp32_csr": min(csr, key=seconds.__getitem__)}
    if compiled:
        chosen["pyg_fp32_compiled"] = min(compiled, key=seconds.__getitem__)
    return {**chosen, "fp32": "fp32", **{quant: quant for quant in WIDTHS}}


def _step(run: Run) -> Step:
    """A run as what `timing` measures."""
    return lambda round_number: run()


def _program_run(program: Program, workload: Workload) -> Run:
    return lambda: program.run(workload.x, workload.graph)
