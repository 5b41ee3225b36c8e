"""Quantisation error and accuracy by in-degree: the diagnosis of Degree-Quant's paper (section 3). Imports torch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from dqrun.build import uses_self_loops
from dqrun.checkpoint import load_model
from dqrun.graph import Batch, dense
from dqrun.nn import GNN, GINLayer
from dqrun.quant import Phase, Sites
from dqrun.quant.plan import set_phase
from dqrun.report.networks import Datasets
from dqrun.report.rows import Run


@dataclass(frozen=True)
class NodeErrors:
    """What a trained network does at each of n nodes.

    `degree`: int64 [n], edges that enter it (self-loops that the layer added left out). `squared`: float64 [n], mean
    over channels of the squared difference between the last layer's aggregate, fake-quantised and FP32 (the same
    weights without quantisers). `power`: float64 [n], mean over channels of the squared FP32 aggregate. `hit`,
    `hit_fp32`: bool [n], whether the prediction is right with and without quantisers; None for graph tasks.
    """

    degree: np.ndarray
    squared: np.ndarray
    power: np.ndarray
    hit: np.ndarray | None
    hit_fp32: np.ndarray | None


@dataclass(frozen=True)
class ByDegree:
    """Bins of in-degree (0, 1, 2, 3-4, 5-8, ...): `low`, `high` inclusive, the number of nodes, and means in each bin.

    `error`: root of the mean squared difference, relative to the root mean square of the FP32 aggregate over all
    nodes. `accuracy`, `accuracy_fp32`: shares, or None for graph tasks. Bins without a node are left out.
    """

    low: list[int]
    high: list[int]
    nodes: list[int]
    error: list[float]
    accuracy: list[float] | None
    accuracy_fp32: list[float] | None


def node_errors(run: Run, datasets: Datasets, part: str) -> NodeErrors:
    """Loads the run's network and passes `part` (train, val, test) through it twice: fake-quantised and FP32.

    Raises DataError for a missing or damaged model file or dataset.
    """
    model, config = load_model(run.folder / "model.safetensors")
    data = datasets.trial(config, run.row.get("fold"))
    loops = int(uses_self_loops(config.model))
    found = [_batch_errors(model, batch, loops, data.is_node_task) for batch in data.batches(part)]
    columns = list(zip(*found, strict=True))
    degree, squared, power = (torch.cat(column).numpy() for column in columns[:3])
    if not data.is_node_task:
        return NodeErrors(degree, squared, power, None, None)
    return NodeErrors(degree, squared, power, *(torch.cat(column).numpy() for column in columns[3:]))


@torch.no_grad()
def _batch_errors(model: GNN, batch: Batch, loops: int, is_node_task: bool) -> list[Tensor]:
    quantised, logits = _aggregate(model, batch, Phase.QUANTIZE)
    exact, logits_fp32 = _aggregate(model, batch, Phase.BYPASS)
    rows = slice(None) if batch.index is None else batch.index
    degree = batch.graph.csr.in_degree[rows] - loops
    squared = (quantised - exact).double().square().mean(1)[rows]
    found = [degree, squared, exact.double().square().mean(1)[rows]]
    if is_node_task:
        found += [(output.argmax(-1) == batch.y)[rows] for output in (logits, logits_fp32)]
    return found


def _aggregate(model: GNN, batch: Batch, phase: Phase) -> tuple[Tensor, Tensor]:
    """What the last layer has aggregated, float32 [N, C] (GIN: with the node's own term), and the logits."""
    set_phase(model, phase)
    with _aggregated(model.layers[-1]) as seen:
        logits = model(dense(batch.x), batch.graph)
    return seen[0].flatten(1), logits


@contextmanager
def _aggregated(layer: nn.Module) -> Iterator[list[Tensor]]:
    """Collects what a layer aggregates inside the `with` block."""
    seen: list[Tensor] = []
    if isinstance(layer, GINLayer):  # sums in one step where its aggregate is exact
        handle = layer.mlp.register_forward_pre_hook(lambda module, arguments: seen.append(arguments[0]))
    else:
        sites = layer.sites
        assert isinstance(sites, Sites)
        handle = sites.aggregate.register_forward_hook(lambda module, arguments, output: seen.append(output))
    try:
        yield seen
    finally:
        handle.remove()


def bin_by_degree(errors: NodeErrors) -> ByDegree:
    """Means over the nodes of each bin."""
    upper = 1 << np.arange(max(1, int(errors.degree.max(initial=0)).bit_length()) + 1)
    edges = np.concatenate([[-1, 0], upper])  # bin k holds degrees in (edges[k], edges[k + 1]]
    place = np.searchsorted(edges, errors.degree, side="left") - 1
    present = np.unique(place)
    typical = float(errors.power.mean()) or 1.0

    def means(values: np.ndarray) -> list[float]:
        return [float(values[place == k].mean()) for k in present]

    return ByDegree(
        low=[int(edges[k]) + 1 for k in present],
        high=[int(edges[k + 1]) for k in present],
        nodes=[int((place == k).sum()) for k in present],
        error=[(value / typical) ** 0.5 for value in means(errors.squared)],
        accuracy=None if errors.hit is None else means(errors.hit),
        accuracy_fp32=None if errors.hit_fp32 is None else means(errors.hit_fp32),
    )
