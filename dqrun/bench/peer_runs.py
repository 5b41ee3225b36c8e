"""Runs of the peers: one network over batches, for each library, form of edges and precision that works here.

The peers are PyG and, where it is installed, DGL; in FP32, in bfloat16, and PyG compiled by torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from dqrun.bench.dgl_peer import DGLNetwork, NoDGL, dgl_graph, reads_plain_edges
from dqrun.bench.peers import EDGE_FORMS, PyGNetwork, edge_forms
from dqrun.config import ModelConfig
from dqrun.errors import DqrunError
from dqrun.graphs import Graph
from dqrun.nn import GNN

COMPILED_FORMS = ("edge_index", "adj_t")
BF16_FORMS = ("edge_index", "adj_t", "dgl")
DGL, BF16, COMPILED = "dgl", "_bf16", "_compiled"
TOLERANCE = 1e-3  # allowed difference of FP32 networks by the order of their sums, relative to the largest logit

T = TypeVar("T")
Run = Callable[[int], Tensor]
"""Computes the logits of batch i modulo the number of batches."""


@dataclass(frozen=True)
class Inputs:
    """The network that peers run, and `(x, graph)` of each batch."""

    config: ModelConfig
    fp32: GNN
    batches: Sequence[tuple[Tensor, Graph]]

    @property
    def first(self) -> Graph:
        return self.batches[0][1]

    def run(self, form: str, bf16: bool = False) -> tuple[Run, nn.Module]:
        """The run and its network for one form of edges.

        Each form needs its own network, because a cache keeps the first form. `bf16`: weights, features and all
        intermediate results are bfloat16. Raises NoDGL if the form is DGL's and does not work.
        """
        network, edges = self._network(form)
        features = [x for x, _ in self.batches]
        if bf16:
            network = network.bfloat16()
            features = [x.bfloat16() if x.is_floating_point() else x for x in features]
            edges = [tuple(_in_bf16(part) for part in each) for each in edges]
        batches = [(graph.batch, graph.num_graphs) for _, graph in self.batches]

        def run(i: int) -> Tensor:
            which = i % len(features)
            with torch.inference_mode(form != "EdgeIndex"), torch.no_grad():  # PyG's EdgeIndex does not work in it
                logits: Tensor = network(features[which], edges[which], *batches[which])
            return logits

        return run, network

    def _network(self, form: str) -> tuple[nn.Module, list[tuple[Any, ...]]]:
        graphs = [graph for _, graph in self.batches]
        if form == DGL:
            edges: list[tuple[Any, ...]] = [dgl_graph(graph) for graph in graphs]
            return DGLNetwork(self.fp32, self.config).eval(), edges
        cached = len(graphs) == 1 and self.first.num_graphs == 1
        network = PyGNetwork(self.fp32, self.config, cached, self.first.edge_weight is not None)
        return network.eval(), [EDGE_FORMS[form](graph) for graph in graphs]


def peer_runs(inputs: Inputs, compiled: bool = True) -> tuple[dict[str, Run], dict[str, str]]:
    """Runs by name, and the reason for each run that was left out.

    A name is a form of edges or `dgl`, for some runs followed by `_compiled` or `_bf16`. The logits are not compared:
    see `require_agreement`.
    """
    forms, left_out = edge_forms([graph for _, graph in inputs.batches])
    runs = {form: inputs.run(form)[0] for form in forms}
    if reads_plain_edges(inputs.first):
        attempt(runs, left_out, DGL, lambda: inputs.run(DGL)[0])
    for form in COMPILED_FORMS if compiled else ():
        if form in runs:
            attempt(runs, left_out, form + COMPILED, partial(_compiled, inputs, form))
    for form in BF16_FORMS:
        if form in runs:
            attempt(runs, left_out, form + BF16, partial(_bf16, inputs, form))
    return runs, left_out


def attempt(
    steps: dict[str, Callable[[int], T]], left_out: dict[str, str], name: str, make: Callable[[], Callable[[int], T]]
) -> None:
    """Makes a step, runs it once and adds it to `steps`; if that fails, adds the reason to `left_out`.

    It catches all exceptions, because a missing compiler or operation or an old library may raise any of them.
    """
    try:
        step = make()
        step(0)
    except NoDGL as error:
        left_out[name] = str(error)
    except Exception as error:
        left_out[name] = f"{type(error).__name__}: {error}".splitlines()[0]
    else:
        steps[name] = step


def _compiled(inputs: Inputs, form: str) -> Run:
    run, network = inputs.run(form)
    run(0)  # fills GCN's cache, which later runs reuse
    network.compile()
    return run


def _bf16(inputs: Inputs, form: str) -> Run:
    return inputs.run(form, bf16=True)[0]


def require_agreement(expected: Tensor, peers: dict[str, Run]) -> float:
    """The largest difference between logits of FP32 peers and `expected`, relative to the largest logit.

    Raises DqrunError if a peer differs by more than TOLERANCE, or gives NaN.
    """
    largest = 0.0
    for name in fp32_peers(peers):
        apart = float((peers[name](0) - expected).abs().max() / expected.abs().max())
        if not apart <= TOLERANCE:
            raise DqrunError(f"the peer over {name} differs by {apart:.2g} of the largest logit from our own FP32")
        largest = max(largest, apart)
    return largest


def fp32_peers(names: dict[str, Any]) -> list[str]:
    """The names of the FP32 runs."""
    return [name for name in names if not name.endswith(BF16)]


def variants(seconds: dict[str, float]) -> dict[str, str]:
    """For each variant the fastest of its peers' runs, e.g. the fastest of PyG's CSR forms as `pyg_fp32_csr`."""
    csr = [name for name in seconds if name in EDGE_FORMS and name != "edge_index"]
    groups = {
        "pyg_fp32_edge_index": ["edge_index"],
        "pyg_fp32_csr": csr,
        "pyg_fp32_compiled": [name for name in seconds if name.endswith(COMPILED)],
        "dgl_fp32": [DGL],
        "pyg_bf16": [name for name in seconds if name.endswith(BF16) and not name.startswith(DGL)],
        "dgl_bf16": [DGL + BF16],
    }
    there = {name: [run for run in runs if run in seconds] for name, runs in groups.items()}
    return {name: min(runs, key=seconds.__getitem__) for name, runs in there.items() if runs}


def _in_bf16(part: Any) -> Any:
    return part.bfloat16() if isinstance(part, Tensor) and part.is_floating_point() else part
