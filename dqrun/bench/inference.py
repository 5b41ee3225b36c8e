"""Measures whole networks from float input to logits: integer programs, dqrun's FP32, and FP32 and BF16 of peers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from dqrun import kernels
from dqrun.bench.one_bit import of_one_bit
from dqrun.bench.peer_runs import BF16, Inputs, Run, fp32_peers, peer_runs, require_agreement, variants
from dqrun.bench.power_law import power_law_edges
from dqrun.bench.progress import stage
from dqrun.bench.timing import interleaved, medians, peak_bytes
from dqrun.bench.traffic import copy_bandwidth, moved_bytes
from dqrun.composition.compose import load_configs
from dqrun.config import RunConfig
from dqrun.data.dataset import load_dataset
from dqrun.data.features import FeatureRule
from dqrun.data.splits import split_for
from dqrun.graphs import Graph
from dqrun.integer import Program
from dqrun.integer.lower import lower
from dqrun.integer.structure import build_graph
from dqrun.nn import GNN
from dqrun.nn.build import build_model, reads_edge_features, reads_edge_weights, uses_self_loops

GRAPHS = ("powerlaw", "zinc", "reddit_binary")
NODES, EDGES, CHANNELS, CLASSES = 200_000, 2_000_000, 128, 40  # of powerlaw
ZINC_GRAPHS = 10_000
WIDTHS = {"int8": 8, "int8-row": 8, "int4": 4, "int4-row": 4, "int2": 2, "int2-row": 2}
"""Bits of each program by its `QuantConfig.label`; `-row`: ranges per row, else per tensor. `one_bit` makes int1."""


@dataclass(frozen=True)
class Measured:
    """One variant. `run_seconds`: median time of a run; `form`: a peer's form of edges. `peak_bytes`: peak memory of a
    run without input and weights. `fraction_of_bandwidth_bound`: minimal time to move the network's bytes at the
    bandwidth of a copy, divided by `run_seconds`."""

    variant: str
    graph: str
    model: str
    run_seconds: float
    speedup_vs_fastest_fp32_peer: float
    speedup_vs_pyg_edge_index: float
    speedup_vs_own_fp32: float
    peak_bytes: int
    fraction_of_bandwidth_bound: float
    form: str = ""


@dataclass(frozen=True)
class Workload:
    """A graph or batch with features, and the configuration and shapes of its network."""

    config: RunConfig
    x: Tensor
    graph: Graph
    shapes: dict[str, Any]  # arguments of `build_model` by name

    @classmethod
    def prepare(cls, graph: str, model: str) -> Workload:
        """A graph of GRAPHS with the network of its recipe; for `powerlaw` three layers of 128 channels."""
        dataset = "cora" if graph == "powerlaw" else graph
        words = [f"dataset={dataset}", f"model={model}", "plan=integer", "method=naive", "quant=int8"]
        (config,) = load_configs(words)
        self_loops = uses_self_loops(config.model)
        if graph == "powerlaw":
            wide = replace(config.model, layers=3, hidden=CHANNELS, heads=8)  # heads: read by attention layers only
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
        """The network of one of WIDTHS, or "fp32", in evaluation mode; all have the same weights.

        One training pass over the graph sets ranges and batch-norm statistics.
        """
        bits, ranges = WIDTHS.get(quant), "row" if quant.endswith("-row") else "tensor"
        config = replace(self.config.quant, bits=bits, weight_bits=bits, activation_bits=bits)
        torch.manual_seed(0)
        model = build_model(replace(self.config, quant=replace(config, activation_granularity=ranges)), **self.shapes)
        with torch.no_grad(), kernels.use("auto"):
            for module in model.modules():
                if isinstance(module, torch.nn.BatchNorm1d):
                    module.momentum = None  # cumulative mean: after one batch, the statistics of that batch
            model.train()(self.x, self.graph)
        return model.eval()


def compare(graph: str, model: str, rounds: int) -> tuple[list[Measured], dict[str, Any]]:
    """Measures all variants of one network; the second result has bandwidth, agreement and the omitted variants.

    Raises DqrunError when the FP32 networks of the peers and our own do not agree.
    """
    with stage(f"{graph}, {model}: reading data, making networks", 1):
        workload = Workload.prepare(graph, model)
        x, structure, fp32 = workload.x, workload.graph, workload.network("fp32")
        programs = {quant: lower(workload.network(quant)) for quant in WIDTHS}
        programs["int1"] = of_one_bit(programs["int2"])
    with stage(f"{graph}, {model}: compiling the peers' networks", 1):
        peers, left_out = peer_runs(Inputs(workload.config.model, fp32, [(x, structure)]))
    notes: dict[str, Any] = {"left_out": left_out}
    ours: dict[str, Run] = {"fp32": lambda i: fp32(x, structure)}
    ours |= {quant: partial(_run, program, workload) for quant, program in programs.items()}
    with torch.inference_mode():
        notes["largest_difference_to_peers"] = require_agreement(ours["fp32"](0), peers)
        runs = {**peers, **ours}
        with stage(f"{graph}, {model}: {rounds} rounds of {len(runs)} variants", rounds * len(runs)) as tick:
            seconds = dict(zip(runs, medians(interleaved(list(runs.values()), rounds, 1, tick)), strict=True))
        chosen = variants({name: seconds[name] for name in peers}) | {name: name for name in ours}
        peaks = {name: peak_bytes(runs[name]) for name in chosen.values()}
    bandwidth = notes["copy_bytes_per_second"] = copy_bandwidth()
    moved = {quant: moved_bytes(program, structure, floats=False) for quant, program in programs.items()}
    moved_floats = moved_bytes(programs["int8"], structure, floats=True)
    fastest = min(seconds[name] for name in fp32_peers(peers))
    measured = [
        Measured(
            variant=variant,
            graph=graph,
            model=model,
            run_seconds=seconds[name],
            speedup_vs_fastest_fp32_peer=fastest / seconds[name],
            speedup_vs_pyg_edge_index=seconds["edge_index"] / seconds[name],
            speedup_vs_own_fp32=seconds["fp32"] / seconds[name],
            peak_bytes=peaks[name],
            fraction_of_bandwidth_bound=_moved(name, moved, moved_floats) / bandwidth / seconds[name],
            form=name if name in peers else "",
        )
        for variant, name in chosen.items()
    ]
    return measured, notes


def _moved(name: str, of_programs: dict[str, int], floats: int) -> int:
    """Bytes that a run must move; BF16 moves half as many as FP32."""
    return of_programs.get(name, floats // 2 if name.endswith(BF16) else floats)


def _run(program: Program, workload: Workload, i: int) -> Tensor:
    return program.run(workload.x, workload.graph)
